// Package modules chooses kernel modules with what they depend on, when an image
// is built, and loads them in that order, when it starts.
package modules
