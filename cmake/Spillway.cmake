# How this project's targets are made: one line for a room, one for a test.
include(GoogleTest)

# spillway_room(NAME SOURCES... [DEPENDS ROOMS_OR_LIBRARIES...]): a folder of src/ as a static library.
# What a room may depend on is what this line names; tests/tree checks that the includes agree.
function(spillway_room name)
  cmake_parse_arguments(room "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${room_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${name} PUBLIC spillway_options ${room_DEPENDS})
  set_target_properties(${name} PROPERTIES UNITY_BUILD ${SPILLWAY_UNITY})
endfunction()

# spillway_test(NAME SOURCES... [LIBS ...] [LABELS ...] [LLAMA]): a GoogleTest program; LLAMA when libllama or ggml is in it.
# A test program is one ctest entry: the cases share costly fixtures (models written once). Entries run two at a time; one
# that measures, or needs the machine's memory or both cores, says RUN_SERIAL or PROCESSORS 2.
function(spillway_test name)
  cmake_parse_arguments(test "LLAMA" "TIMEOUT" "LIBS;LABELS" ${ARGN})
  if(NOT SPILLWAY_TESTS)
    return()
  endif()
  add_executable(${name} ${test_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE spillway_options ${test_LIBS} GTest::gmock_main)
  set_target_properties(${name} PROPERTIES UNITY_BUILD ${SPILLWAY_UNITY_TESTS})
  # What is tested is compiled as it is shipped; a test is compiled about as often as it runs.
  target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1 -g0>)
  if(test_LLAMA)
    spillway_uses_llama(${name})
  endif()
  if(NOT test_TIMEOUT)
    set(test_TIMEOUT 600)
  endif()
  # The private prefix's C library is newer than the one g++ 12's ThreadSanitizer knows. And what runs on one thread shows
  # it nothing: those tests would be a third of its build.
  if((test_LLAMA OR name MATCHES "^(chat|obedient_model|serve_ui)_test$") AND SPILLWAY_SANITIZE MATCHES "thread")
    list(REMOVE_ITEM test_LABELS sanitize)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${test_TIMEOUT} LABELS "${test_LABELS}")
  # What is run under the sanitizers too, and nothing else, is built with this target in their presets.
  if("sanitize" IN_LIST test_LABELS)
    if(NOT TARGET sanitized_tests)
      add_custom_target(sanitized_tests)
    endif()
    add_dependencies(sanitized_tests ${name})
  endif()
endfunction()
