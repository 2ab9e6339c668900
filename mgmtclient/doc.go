// Package mgmtclient calls the admin interfaces of dpmip's daemons: the
// management node over its unix socket or over mutual TLS, an agent or a
// router over its unix socket. Mobility Header traffic never passes here.
package mgmtclient
