package registration

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility/wire"
)

const (
	// A peer gets at most this many Binding Errors a second, and this many at
	// once.
	bindingErrorRate  = 1
	bindingErrorBurst = 4
	// bindingErrorSize is the size of one in bytes, without authenticator.
	bindingErrorSize = 24
)

// UnknownType tells that an allow-listed peer sent a message of size bytes whose
// MH Type is not one of ours (wire.UnknownType). It is answered with a Binding
// Error of status 2, within a rate, and never by more bytes than it had.
func (n *Node) UnknownType(now time.Time, from netip.Addr, size int, out []Effect) []Effect {
	n.saw(now)
	switch {
	case size < bindingErrorSize:
		return count(out, CountQuestionTooShort)
	case !n.peer(from).errors.take(now, bindingErrorRate, bindingErrorBurst):
		return count(out, CountBindingErrorLimited)
	}
	payload, err := n.build(wire.TypeBindingError, func(m *wire.Message) {
		m.BindingError.Status = wire.BindingErrorUnknownType
	})
	if err != nil {
		return out
	}
	return append(count(out, CountBindingErrorSent), Send{To: from, CareOf: from, Payload: payload, Unauthenticated: true, Limit: size})
}
