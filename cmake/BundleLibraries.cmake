# At install time: makes ${private} complete. Every library that the programs load, as their loader finds them, comes beside
# them, and the loader too; search paths of the build machine are taken out, debug information as well.
#
# Set by the caller: loader, libraries (the prefix's folder), programs, strip, private.
set(found "${loader}")
foreach(program IN LISTS programs)
  execute_process(COMMAND "${loader}" --library-path "${libraries}" --list "${private}/${program}"
                  OUTPUT_VARIABLE listed RESULT_VARIABLE failed)
  if(failed OR listed MATCHES "([^\n]+) => not found")
    message(FATAL_ERROR "${program} lacks ${CMAKE_MATCH_1}")
  endif()
  string(REGEX MATCHALL "=> (/[^ ]+)" paths "${listed}")
  foreach(path IN LISTS paths)
    string(SUBSTRING "${path}" 3 -1 path)
    list(APPEND found "${path}")
  endforeach()
endforeach()
# The backends are loaded by name while the program runs; what they need beyond a driver's own loader is there already. The
# C library's own plug-ins for names of users and hosts are part of it since 2.34.
list(REMOVE_DUPLICATES found)
foreach(path IN LISTS found)
  get_filename_component(name "${path}" NAME)
  if(NOT EXISTS "${private}/${name}")
    file(REAL_PATH "${path}" real)
    file(COPY "${real}" DESTINATION "${private}"
         FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
    get_filename_component(real_name "${real}" NAME)
    if(NOT real_name STREQUAL name)
      file(RENAME "${private}/${real_name}" "${private}/${name}")
    endif()
  endif()
endforeach()
foreach(program IN LISTS programs)
  file(RPATH_REMOVE FILE "${private}/${program}")
  if(strip)
    execute_process(COMMAND "${strip}" --strip-unneeded "${private}/${program}")
  endif()
endforeach()
