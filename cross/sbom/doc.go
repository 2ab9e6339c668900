// Package sbom writes what a Go program is made of, as the program itself says
// (its build information), in CycloneDX's JSON.
package sbom
