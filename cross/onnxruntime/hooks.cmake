# What ONNX Runtime's own CMake files have no switch for; read after its project() call, and carried out
# once every target is known.

function(eir_adjust_targets)
  # What runs once while a model is loaded is built to be small; kernels and the executor stay fast.
  foreach(target onnx onnx_proto libprotobuf-lite flatbuffers re2
      onnxruntime_graph onnxruntime_optimizer onnxruntime_session onnxruntime_lora)
    target_compile_options(${target} PRIVATE -Os)
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
endfunction()

cmake_language(DEFER DIRECTORY ${CMAKE_SOURCE_DIR} CALL eir_adjust_targets)
