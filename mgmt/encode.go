package mgmt

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// encodeBinding writes what encode would, byte for byte, and faster: every
// registration writes its binding. What few bindings have is left to
// encoding/json.
func encodeBinding(b *Binding) store.Write {
	return store.Write{Kind: store.Bindings, Key: bindingKey(b.VM), Value: b.appendJSON(make([]byte, 0, usualBinding))}
}

// usualBinding is how many bytes the record of a VM seldom passes that has not
// moved.
const usualBinding = 512

func (b *Binding) appendJSON(dst []byte) []byte {
	dst = appendText(append(dst, `{"vm":`...), b.VM.String())
	dst = append(b.MAC.Append(append(dst, `,"mac":"`...)), '"')
	if b.Hypervisor != "" {
		dst = appendText(append(dst, `,"hypervisor":`...), b.Hypervisor)
	}
	dst = appendSlots(dst, b.Slots)
	dst = appendRare(dst, "old", len(b.Old), b.Old)
	dst = appendNumber(dst, "epoch", uint64(b.Epoch))
	dst = appendNumber(dst, "base", uint64(b.Base))
	dst = appendNumber(dst, "issued", uint64(b.Issued))
	dst = appendNumber(dst, "lifetime", uint64(b.Lifetime))
	dst = appendTime(append(dst, `,"registered":`...), b.Registered)
	dst = appendTime(append(dst, `,"expires":`...), b.Expires)
	if !b.Grace.IsZero() {
		dst = appendTime(append(dst, `,"grace":`...), b.Grace)
	}
	if !b.Gone.IsZero() {
		dst = appendTime(append(dst, `,"gone":`...), b.Gone)
	}
	if b.Options != (mobility.MoveOptions{}) {
		dst = appendRare(dst, "options", 1, b.Options)
	}
	dst = appendRare(dst, "deliveries", len(b.Deliveries), b.Deliveries)
	dst = appendRare(dst, "anchors", len(b.Anchors), b.Anchors)
	dst = appendRare(dst, "routes", len(b.Routes), b.Routes)
	dst = appendRare(dst, "rehearsal", len(b.Rehearsal), b.Rehearsal)
	dst = appendRare(dst, "yields", len(b.Yields), b.Yields)
	dst = appendRare(dst, "quarantine", len(b.Quarantine), b.Quarantine)
	dst = appendRare(dst, "leaving", len(b.Leaving), b.Leaving)
	if !b.LeaveBy.IsZero() {
		dst = appendTime(append(dst, `,"leave_by":`...), b.LeaveBy)
	}
	if b.Open != 0 {
		dst = appendNumber(dst, "open", uint64(b.Open))
	}
	if b.Last != 0 {
		dst = appendNumber(dst, "last", uint64(b.Last))
	}
	return append(appendOrders(dst, b.Orders), '}')
}

func appendOrders(dst []byte, orders []registration.Order) []byte {
	between := `,"orders":[`
	for _, o := range orders {
		dst = appendText(append(append(dst, between...), `{"VM":`...), o.VM.String())
		dst = appendAddr(append(dst, `,"Sender":`...), o.Sender)
		dst = appendTime(append(dst, `,"Timestamp":`...), o.Timestamp)
		dst = append(appendNumber(dst, "Sequence", uint64(o.Sequence)), '}')
		between = ","
	}
	return endList(dst, len(orders))
}

// appendSlots writes a list of addresses, unless it is empty.
func appendSlots(dst []byte, addrs []netip.Addr) []byte {
	between := `,"slots":[`
	for _, a := range addrs {
		dst = appendAddr(append(dst, between...), a)
		between = ","
	}
	return endList(dst, len(addrs))
}

func endList(dst []byte, n int) []byte {
	if n == 0 {
		return dst
	}
	return append(dst, ']')
}

// appendAddr writes an address; the invalid one is an empty string.
func appendAddr(dst []byte, a netip.Addr) []byte {
	dst = append(dst, '"')
	if a.IsValid() {
		dst = a.AppendTo(dst)
	}
	return append(dst, '"')
}

func appendNumber(dst []byte, name string, n uint64) []byte {
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return strconv.AppendUint(dst, n, 10)
}

func appendTime(dst []byte, t time.Time) []byte {
	out, err := t.AppendText(append(dst, '"'))
	if err != nil {
		panic(fmt.Sprintf("mgmt: time of a record: %v", err)) // beyond the year 9999
	}
	return append(out, '"')
}

// appendText writes a string; encoding/json knows those that need escapes.
func appendText(dst []byte, s string) []byte {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return append(dst, marshal(s)...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// appendRare writes a field of n elements by encoding/json, unless n is 0.
func appendRare(dst []byte, name string, n int, v any) []byte {
	if n == 0 {
		return dst
	}
	return slices.Concat(append(append(append(dst, `,"`...), name...), `":`...), marshal(v))
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		// Every record type marshals; only a programmer can break that.
		panic(fmt.Sprintf("mgmt: record: %v", err))
	}
	return b
}
