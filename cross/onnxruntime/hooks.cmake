# What ONNX Runtime's own CMake files have no switch for; read after its project() call, and carried out
# once every target is known.

# What computes in its own loops, on every run of a model, stays fast. The rest of the operators hand their
# work to mlas, move memory, or are rare: they are built to be small, as is all that runs once while a model
# is loaded. Below onnxruntime/; a name may be a pattern.
set(eir_fast
  core/providers/cpu/activation/*.cc
  core/providers/cpu/math/clip.cc
  core/providers/cpu/math/element_wise_ops.cc
  core/providers/cpu/math/gemm.cc
  core/providers/cpu/math/matmul*.cc
  core/providers/cpu/math/softmax*.cc
  core/providers/cpu/nn/batch_norm.cc
  core/providers/cpu/nn/conv*.cc
  core/providers/cpu/nn/instance_norm.cc
  core/providers/cpu/nn/layer_norm*.cc
  core/providers/cpu/nn/pool*.cc
  core/providers/cpu/quantization/*.cc
  core/providers/cpu/tensor/cast_op.cc
  core/providers/cpu/tensor/transpose.cc
  core/providers/cpu/tensor/upsample*.cc
  core/util/math_cpu.cc
  contrib_ops/cpu/activations.cc
  contrib_ops/cpu/fused_*.cc
  contrib_ops/cpu/nchwc_ops.cc
  contrib_ops/cpu/quantization/*.cc)

# With every header and code path of its target; the two have to be told apart by file.
function(eir_keep_fast target)
  get_target_property(sources ${target} SOURCES)
  foreach(pattern ${eir_fast})
    file(GLOB found "${REPO_ROOT}/onnxruntime/${pattern}")
    if(NOT found)
      message(FATAL_ERROR "hooks.cmake: there is no file like ${pattern}")
    endif()
    foreach(file ${found})
      if(file IN_LIST sources)
        # A precompiled header is good for one kind of code alone.
        set_source_files_properties(${file} TARGET_DIRECTORY ${target}
          PROPERTIES COMPILE_OPTIONS -O2 SKIP_PRECOMPILE_HEADERS ON)
      endif()
    endforeach()
  endforeach()
endfunction()

function(eir_adjust_targets)
  get_directory_property(targets BUILDSYSTEM_TARGETS)
  foreach(target onnx onnx_proto libprotobuf-lite flatbuffers re2 ${targets})
    get_target_property(kind ${target} TYPE)
    if(kind MATCHES "STATIC_LIBRARY|OBJECT_LIBRARY" AND NOT target STREQUAL onnxruntime_mlas)
      target_compile_options(${target} PRIVATE -Os)
    endif()
  endforeach()

  # Most of the compiler's time goes into the same few headers, again and again.
  set(headers <algorithm> <functional> <memory> <string> <unordered_map> <vector>
    "${REPO_ROOT}/include/onnxruntime/core/framework/op_kernel.h"
    "${REPO_ROOT}/include/onnxruntime/core/graph/graph.h"
    "${REPO_ROOT}/onnxruntime/core/framework/tensorprotoutils.h")
  foreach(target onnxruntime_framework onnxruntime_graph onnxruntime_optimizer onnxruntime_session)
    target_precompile_headers(${target} PRIVATE ${headers})
  endforeach()
  target_precompile_headers(onnxruntime_providers PRIVATE ${headers}
    "${REPO_ROOT}/include/onnxruntime/core/platform/threadpool.h"
    "${REPO_ROOT}/onnxruntime/core/providers/common.h"
    "${REPO_ROOT}/onnxruntime/core/util/math_cpuonly.h")

  eir_keep_fast(onnxruntime_providers)
  eir_keep_fast(onnxruntime_util)
endfunction()

cmake_language(DEFER DIRECTORY ${CMAKE_SOURCE_DIR} CALL eir_adjust_targets)
