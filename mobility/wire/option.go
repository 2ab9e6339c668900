package wire

import "fmt"

// OptionType is the type of a mobility option (RFC 6275 section 6.2).
type OptionType uint8

// The options of the profile; in brackets the RFC's name where the draft
// renames it.
const (
	OptPad1                 OptionType = 0
	OptPadN                 OptionType = 1
	OptRefreshAdvice        OptionType = 2
	OptAlternateCareOf      OptionType = 3
	OptVMID                 OptionType = 8  // VM Identifier [Mobile Node Identifier]
	OptAuthentication       OptionType = 9  // Mobility Message Authentication
	OptReplayProtection     OptionType = 10 // Mobility Message Replay Protection
	OptVendor               OptionType = 19 // Vendor Specific
	OptVMAddress            OptionType = 22 // VM Address [Home Network Prefix]
	OptHandoffIndicator     OptionType = 23
	OptAccessTechnology     OptionType = 24
	OptLinkLayerID          OptionType = 25 // VM Link-Layer Identifier
	OptLinkLocal            OptionType = 26
	OptTimestamp            OptionType = 27
	OptRestartCounter       OptionType = 28
	OptVMIPv4Address        OptionType = 36 // VM IPv4 Address [IPv4 Home Address Request]
	OptIPv4HomeAddressReply OptionType = 37 // known by name only
	OptDefaultRouter        OptionType = 38 // VM Default Router Address [IPv4 Default-Router Address]
	OptIPv4DHCPSupport      OptionType = 39 // known by name only
	OptMAGIPv6Address       OptionType = 51 // known by name only (RFC 6705)
	OptPreviousMAAR         OptionType = 67 // known by name only (RFC 8885)
	OptServingMAAR          OptionType = 68 // known by name only (RFC 8885)
)

// optionSpec is what the codec knows about one option type.
type optionSpec struct {
	name string
	min  uint8 // least length of the data, in bytes
	mod  uint8 // alignment: the type byte's offset is rem modulo mod; 0 = none
	rem  uint8
	once bool // a second one makes the message invalid
}

// optionTable holds names, minimum lengths and alignments. The options known by
// name only have no minimum: nothing reads their data. Alignments marked (m)
// are from memory of the RFCs; receivers do not depend on them.
var optionTable = [256]optionSpec{
	OptPad1:                 {name: "Pad1"},
	OptPadN:                 {name: "PadN"},
	OptRefreshAdvice:        {name: "Refresh Advice", min: 2, mod: 2},
	OptAlternateCareOf:      {name: "Alternate Care-of Address", min: 16, mod: 8, rem: 6},
	OptVMID:                 {name: "VM Identifier", min: 2, once: true},
	OptAuthentication:       {name: "Authentication", min: 6, mod: 4, rem: 1, once: true},
	OptReplayProtection:     {name: "Replay Protection", min: 8, mod: 8, rem: 2, once: true},
	OptVendor:               {name: "Vendor", min: 5, mod: 4, rem: 2}, // (m)
	OptVMAddress:            {name: "VM Address", min: 18, mod: 8, rem: 4},
	OptHandoffIndicator:     {name: "Handoff Indicator", min: 2},
	OptAccessTechnology:     {name: "Access Technology", min: 2},
	OptLinkLayerID:          {name: "VM Link-Layer Identifier", min: 3, mod: 8, once: true},
	OptLinkLocal:            {name: "Link-local Address", min: 16, mod: 8, rem: 6},
	OptTimestamp:            {name: "Timestamp", min: 8, mod: 8, rem: 2, once: true},
	OptRestartCounter:       {name: "Restart Counter", min: 4, mod: 4, rem: 2}, // (m)
	OptVMIPv4Address:        {name: "VM IPv4 Address", min: 6, mod: 4},         // (m)
	OptIPv4HomeAddressReply: {name: "IPv4 Home Address Reply"},
	OptDefaultRouter:        {name: "VM Default Router Address", min: 6, mod: 4}, // (m)
	OptIPv4DHCPSupport:      {name: "IPv4 DHCP Support Mode"},
	OptMAGIPv6Address:       {name: "MAG IPv6 Address"},
	OptPreviousMAAR:         {name: "Previous MAAR"},
	OptServingMAAR:          {name: "Serving MAAR"},
}

// Known reports whether the profile has a name for the option.
func (t OptionType) Known() bool { return optionTable[t].name != "" }

func (t OptionType) String() string {
	if s := optionTable[t].name; s != "" {
		return s
	}
	return fmt.Sprintf("option %d", uint8(t))
}

// Option is one option as it stands in the message:
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+- - - - - -
//	|     Type      |    Length     |   Data ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+- - - - - -
//
// Length is that of the data. Pad1 is its type byte alone.
type Option struct {
	Type OptionType
	Data []byte
}

// AddOption adds an option as it is: at most 255 bytes of data, aligned and
// checked like its type where that is known. A pad is added where it stands.
func (m *Message) AddOption(o Option) {
	limit := 255
	if o.Type == OptPad1 {
		limit = 0
	}
	if len(o.Data) > limit {
		m.refuse(o.Type, fmt.Sprintf("%d bytes, at most %d", len(o.Data), limit))
		return
	}
	if v, ok := ParseVendor(o); ok {
		m.AddVendor(v)
		return
	}
	copy(m.add(o.Type, len(o.Data)), o.Data)
}

// Count gives how many options of one type there are.
func (m *Message) Count(t OptionType) int {
	n := 0
	for _, s := range m.spans {
		if s.typ == t {
			n++
		}
	}
	return n
}

// Raw gives the data of the first option of a type, a view into the message.
func (m *Message) Raw(t OptionType) ([]byte, bool) {
	if !m.has(t) {
		return nil, false
	}
	for _, s := range m.spans {
		if s.typ == t {
			return m.data(s), true
		}
	}
	return nil, false
}

// has is a quick "no"; for types from 64 on it cannot tell and says yes.
func (m *Message) has(t OptionType) bool { return t >= 64 || m.seen>>t&1 != 0 }

func (m *Message) note(t OptionType) {
	if t < 64 {
		m.seen |= 1 << t
	}
}

// add pads to the option's alignment, appends an option with n zero bytes of
// data and returns them for filling. When the option is refused the error is
// kept for Append, and the bytes returned lead nowhere.
func (m *Message) add(t OptionType, n int) []byte {
	spec := &optionTable[t]
	switch {
	case m.err != nil:
		return m.scratch[:n]
	case m.seen>>OptAuthentication&1 != 0:
		m.err = m.optionError(KindOptionAfterAuth, t, len(m.buf), 0, 0)
	case spec.once && m.has(t):
		m.err = m.optionError(KindOptionDuplicate, t, len(m.buf), 0, 0)
	case n < int(spec.min):
		m.err = m.optionError(KindOptionShort, t, len(m.buf), n, int(spec.min))
	case m.Type.fixedLen() == 0:
		m.err = &Error{Kind: KindUnencodable, Type: m.Type, Detail: "cannot add options to a message of " + m.Type.String()}
	case len(m.buf)+n > MaxLen:
		m.err = &Error{Kind: KindMessageTooLong, Type: m.Type, Got: len(m.buf) + n, Want: MaxLen}
	}
	if m.err != nil {
		return m.scratch[:n]
	}
	m.takeOver()
	m.pad(m.gap(t, n))
	return m.place(t, n)
}

// takeOver copies the bytes of a parsed message, so that it can grow.
func (m *Message) takeOver() {
	if m.parsed {
		m.own = append(m.own[:0], m.buf...)
		m.buf, m.parsed = m.own, false
	}
}

// gap is how many bytes of pad an option of n bytes of data needs before it. An
// authenticator is placed so that it ends the message.
func (m *Message) gap(t OptionType, n int) int {
	if t == OptAuthentication {
		return -(len(m.buf) + 2 + n) & 7
	}
	spec := &optionTable[t]
	if spec.mod == 0 {
		return 0
	}
	return (int(spec.rem) - len(m.buf)) & (int(spec.mod) - 1)
}

func (m *Message) pad(n int) {
	switch {
	case n == 1:
		m.place(OptPad1, 0)
	case n > 1:
		m.place(OptPadN, n-2)
	}
}

func (m *Message) place(t OptionType, n int) []byte {
	m.own = append(m.own, byte(t))
	if t != OptPad1 {
		m.own = append(m.own, byte(n))
	}
	start := len(m.own)
	m.own = append(m.own, zeros[:n]...)
	m.buf = m.own
	m.note(t)
	m.spans = append(m.spans, span{off: uint16(start), typ: t, len: uint8(n)})
	return m.own[start:]
}

// refuse keeps the first error of the Add methods for Append.
func (m *Message) refuse(t OptionType, detail string) {
	if m.err == nil {
		m.err = &Error{Kind: KindOptionValue, Type: m.Type, Option: t, Detail: fmt.Sprintf("option %d: %s", uint8(t), detail)}
	}
}

// Err gives the first error that an Add method met since Reset or Parse. Append
// returns it too.
func (m *Message) Err() error { return m.err }

// appendPad adds n bytes of pad: nothing, a Pad1, or a PadN.
func appendPad(dst []byte, n int) []byte {
	switch n {
	case 0:
		return dst
	case 1:
		return append(dst, byte(OptPad1))
	}
	dst = append(dst, byte(OptPadN), byte(n-2))
	return append(dst, zeros[:n-2]...)
}
