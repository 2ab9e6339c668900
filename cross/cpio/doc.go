// Package cpio writes initramfs archives in the kernel's "newc" format, the
// same bytes for the same content: names sorted, every time zero, every owner
// root, inodes numbered in order.
package cpio
