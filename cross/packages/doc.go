// Package packages makes the .deb and .rpm files: a program, its unit, default
// configuration, man page and completion, by nfpm, which is pinned in nfpm.mod
// so that its own dependencies stay out of the project's go.mod.
package packages
