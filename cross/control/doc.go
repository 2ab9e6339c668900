// Package control is how dpmip-init, called by a person, speaks to the
// dpmip-init that is PID 1: a request and answers over a unix socket, a JSON
// object a line. Only root may connect.
package control
