// Package kernelbtf holds the kernel's type information for those of a process
// that need it at the same time.
package kernelbtf
