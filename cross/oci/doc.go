// Package oci writes an OCI image layout of one static program, as a tar file
// that containerd and podman import. An engine is not needed to build it, and
// the same program gives the same bytes.
package oci
