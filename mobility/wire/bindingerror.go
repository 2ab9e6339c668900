package wire

import (
	"fmt"
	"net/netip"
)

// BindingErrorStatus says what a Binding Error is about.
type BindingErrorStatus uint8

// Statuses of a Binding Error (RFC 6275 section 6.1.9).
const (
	BindingErrorUnknownBinding BindingErrorStatus = 1
	BindingErrorUnknownType    BindingErrorStatus = 2
)

func (s BindingErrorStatus) String() string {
	switch s {
	case BindingErrorUnknownBinding:
		return "unknown binding"
	case BindingErrorUnknownType:
		return "unknown MH type"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// BindingError is the fixed part of a Binding Error (RFC 6275 section 6.1.9),
// from byte 6. It never changes state.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |     Status    |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	.                      Home Address, 16 bytes                   .
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type BindingError struct {
	Status   BindingErrorStatus
	Reserved uint8
	// HomeAddress is an IPv6 address; the zero Addr is sent as "::".
	HomeAddress netip.Addr
}

func (e *BindingError) parse(b []byte) {
	e.Status, e.Reserved = BindingErrorStatus(b[6]), b[7]
	e.HomeAddress = netip.AddrFrom16([16]byte(b[8:24]))
}

func (e *BindingError) put(b []byte) {
	b[6], b[7] = byte(e.Status), e.Reserved
	if e.HomeAddress.IsValid() {
		a := e.HomeAddress.As16()
		copy(b[8:24], a[:])
	}
}
