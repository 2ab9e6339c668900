// Package authority is a certificate authority for labs and tests, which ends
// with the process. Operators have their own.
package authority
