# The page of `eg4d view` and `eg4d export -o viewer.html` (docs/viewer.md), built with npm where it is. Nothing else needs it.
set(EG4D_VIEWER AUTO CACHE STRING "Build the viewer's page: AUTO (when npm is found), ON or OFF")
set_property(CACHE EG4D_VIEWER PROPERTY STRINGS AUTO ON OFF)
set(EG4D_VIEWER_FOUND OFF)
if(EG4D_VIEWER STREQUAL AUTO OR EG4D_VIEWER)
  find_program(NPM npm)
  find_program(NODE NAMES node nodejs)
  if(NPM AND NODE)
    execute_process(COMMAND ${NODE} --version OUTPUT_VARIABLE NODE_VERSION OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    string(REGEX REPLACE "^v" "" NODE_VERSION "${NODE_VERSION}")
    if(NODE_VERSION VERSION_GREATER_EQUAL 18)
      set(EG4D_VIEWER_FOUND ON)
    endif()
  endif()
  if(NOT EG4D_VIEWER_FOUND AND NOT EG4D_VIEWER STREQUAL AUTO)
    message(FATAL_ERROR "EG4D_VIEWER is ON, but there is no npm with Node.js 18 or newer here (Debian: apt-get install npm)")
  endif()
endif()
message(STATUS "Viewer's page: ${EG4D_VIEWER_FOUND}")
if(NOT EG4D_VIEWER_FOUND)
  return()
endif()

# Built again when a source or the lock file changes. Packages are fetched when the lock file does.
file(GLOB_RECURSE EG4D_VIEWER_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/viewer/src/*)
set(VIEWER_STAMP ${CMAKE_BINARY_DIR}/viewer/stamp)
add_custom_command(OUTPUT ${VIEWER_STAMP} BYPRODUCTS ${CMAKE_BINARY_DIR}/viewer/viewer.html
  COMMAND ${CMAKE_SOURCE_DIR}/scripts/build_viewer.sh ${CMAKE_BINARY_DIR}/viewer ${EG4D_VIEWER}
  DEPENDS ${EG4D_VIEWER_SOURCES} ${CMAKE_SOURCE_DIR}/scripts/build_viewer.sh
    ${CMAKE_SOURCE_DIR}/viewer/index.html ${CMAKE_SOURCE_DIR}/viewer/package.json ${CMAKE_SOURCE_DIR}/viewer/package-lock.json
    ${CMAKE_SOURCE_DIR}/viewer/vite.config.ts ${CMAKE_SOURCE_DIR}/viewer/tsconfig.json
  COMMENT "Building the viewer's page" VERBATIM)
add_custom_target(viewer ALL DEPENDS ${VIEWER_STAMP})
