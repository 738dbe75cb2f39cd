# Installs the build into a scratch folder, then builds and runs a project that links it, and the installed program.
# Variables: BUILD (the build folder), SOURCE (this folder), SCRATCH.
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()
file(REMOVE_RECURSE ${SCRATCH})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${SCRATCH}/prefix)
run(${CMAKE_COMMAND} -S ${SOURCE}/consumer -B ${SCRATCH}/consumer -G Ninja -DCMAKE_PREFIX_PATH=${SCRATCH}/prefix
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS=${FLAGS}" "-DCMAKE_C_FLAGS=${FLAGS}")
run(${CMAKE_COMMAND} --build ${SCRATCH}/consumer)
run(${SCRATCH}/consumer/consumer)
run(${SCRATCH}/prefix/bin/eg4d --version)
if(NOT EXISTS ${SCRATCH}/prefix/lib/eg4d/libeg4d_video.so)
  message(FATAL_ERROR "the library for videos was not installed beside the program")
endif()
file(REMOVE_RECURSE ${SCRATCH})
