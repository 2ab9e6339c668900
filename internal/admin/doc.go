// Package admin serves what an operator talks to at every daemon: the Connect
// interfaces on a unix socket or over mutual TLS, metrics, health, and the
// form of its logs.
package admin
