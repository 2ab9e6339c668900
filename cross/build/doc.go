// Command build makes what is shipped: static programs, the firmware image,
// signed bundles, packages, a container image, with an SBOM and checksums
// beside them. The same source, toolchain and key give the same bytes.
package main
