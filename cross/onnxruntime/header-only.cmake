# The CMakeLists.txt of a library that is headers alone. `target.cmake` beside it says under which name
# ONNX Runtime looks for it (`target`) and where its headers lie (`headers`).
cmake_minimum_required(VERSION 3.28)
include(${CMAKE_CURRENT_SOURCE_DIR}/target.cmake)
project(${target} LANGUAGES NONE)
string(MAKE_C_IDENTIFIER ${target} plain)
add_library(${plain} INTERFACE)
target_include_directories(${plain} SYSTEM INTERFACE ${CMAKE_CURRENT_SOURCE_DIR}/${headers})
target_compile_definitions(${plain} INTERFACE ${definitions})
add_library(${target} ALIAS ${plain})
