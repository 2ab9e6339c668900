package wire

import "github.com/dpmip/dpmip/mobility"

// VMID gives the VM Identifier option (RFC 4283 section 3). It allocates the
// identifier's string; Identifier does not. Whether subtype and bytes make a
// valid identifier is for mobility.VMID.Validate. No alignment.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 8    | Length = 1+n  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    Subtype    |   Identifier, n bytes ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) VMID() (mobility.VMID, bool) {
	st, b, ok := m.Identifier()
	if !ok {
		return mobility.VMID{}, false
	}
	return mobility.VMID{Subtype: st, Bytes: string(b)}, true
}

// Identifier gives the VM Identifier option as subtype and a view of its bytes.
// A table keyed by mobility.VMID is looked up without allocation by
// table[mobility.VMID{Subtype: st, Bytes: string(b)}].
func (m *Message) Identifier() (mobility.IDSubtype, []byte, bool) {
	d, ok := m.Raw(OptVMID)
	if !ok {
		return mobility.IDInvalid, nil, false
	}
	return mobility.IDSubtype(d[0]), d[1:], true
}

// AddVMID adds the VM Identifier option. An identifier that does not validate
// is refused.
func (m *Message) AddVMID(id mobility.VMID) {
	if err := id.Validate(); err != nil {
		m.refuse(OptVMID, err.Error())
		return
	}
	d := m.add(OptVMID, 1+len(id.Bytes))
	d[0] = byte(id.Subtype)
	copy(d[1:], id.Bytes)
}
