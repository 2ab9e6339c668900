// Package transcript keeps what a program logs or a machine's console shows, for
// tests that look into it meanwhile.
package transcript
