# `cmake --install build/release --prefix DIR`, and `cpack` for two Debian packages: eg4d (the program) and libeg4d-dev
# (the static library, its headers and a CMake package: find_package(eg4d), target eg4d::eg4d).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(EG4D_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/eg4d)

install(TARGETS eg4d RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(TARGETS eg4d_video LIBRARY DESTINATION lib/eg4d COMPONENT program)
if(EG4D_CUDA_FOUND)
  install(TARGETS eg4d_cuda LIBRARY DESTINATION lib/eg4d COMPONENT program)
endif()
# A page that could not be built (no network for npm) is not there, and `eg4d view` says so.
if(EG4D_VIEWER_FOUND)
  install(FILES ${CMAKE_BINARY_DIR}/viewer/viewer.html DESTINATION ${CMAKE_INSTALL_DATADIR}/eg4d/viewer COMPONENT program OPTIONAL)
endif()
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
# The small models of `eg4d generate`; the program looks for them there.
if(EXISTS ${CMAKE_SOURCE_DIR}/models/mini)
  install(DIRECTORY models/mini DESTINATION ${CMAKE_INSTALL_DATADIR}/eg4d/models COMPONENT program)
endif()

set_target_properties(eg4d_library PROPERTIES EXPORT_NAME eg4d)
install(TARGETS eg4d_library EXPORT eg4d-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(DIRECTORY src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/eg4d COMPONENT development
        FILES_MATCHING PATTERN "*.h" PATTERN "app" EXCLUDE PATTERN "cpu" EXCLUDE PATTERN "cuda" EXCLUDE)
install(EXPORT eg4d-targets NAMESPACE eg4d:: DESTINATION ${EG4D_CMAKE_DIR} COMPONENT development)
configure_package_config_file(cmake/eg4d-config.cmake.in ${CMAKE_BINARY_DIR}/eg4d-config.cmake
                              INSTALL_DESTINATION ${EG4D_CMAKE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/eg4d-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/eg4d-config.cmake ${CMAKE_BINARY_DIR}/eg4d-config-version.cmake
              cmake/dependencies.cmake DESTINATION ${EG4D_CMAKE_DIR} COMPONENT development)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME eg4d)
set(CPACK_PACKAGE_CONTACT "eg4d maintainers <maintainers@users.noreply.b-seed-48c3ae6a.example>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME eg4d)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION graphics)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libeg4d-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Static library and headers of eg4d")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
include(CPack)
