package mobility

import "fmt"

// HandoffIndicator says why a Request is sent (RFC 5213 section 8.4).
type HandoffIndicator uint8

// Values in use.
const (
	HandoffReserved  HandoffIndicator = 0 // absent
	HandoffNew       HandoffIndicator = 1 // attachment over a new interface: first registration
	HandoffOther     HandoffIndicator = 2 // handoff between two interfaces of the VM
	HandoffMove      HandoffIndicator = 3 // handoff between hypervisors
	HandoffUnknown   HandoffIndicator = 4
	HandoffUnchanged HandoffIndicator = 5 // refresh
)

var handoffNames = map[HandoffIndicator]string{0: "none", 1: "new", 2: "other", 3: "move", 4: "unknown", 5: "refresh"}

func (h HandoffIndicator) String() string { return enumName(handoffNames, h) }

// Mode is the temperature of a move. The zero value is invalid ("not given").
type Mode uint8

// Modes (vendor option 3, first byte).
const (
	ModeCold Mode = 1
	ModeWarm Mode = 2
	ModeHot  Mode = 3
)

var modeNames = map[Mode]string{1: "cold", 2: "warm", 3: "hot"}

func (m Mode) String() string                { return enumName(modeNames, m) }
func (m Mode) MarshalText() ([]byte, error)  { return []byte(m.String()), nil }
func (m *Mode) UnmarshalText(b []byte) error { return enumParse("mode", modeNames, m, b) }

// Addressing says whether a move keeps the VM's addresses.
type Addressing uint8

// Addressings (vendor option 3, second byte).
const (
	AddressesKeep     Addressing = 1
	AddressesRenumber Addressing = 2
)

var addressingNames = map[Addressing]string{1: "keep", 2: "renumber"}

func (a Addressing) String() string               { return enumName(addressingNames, a) }
func (a Addressing) MarshalText() ([]byte, error) { return []byte(a.String()), nil }
func (a *Addressing) UnmarshalText(b []byte) error {
	return enumParse("addresses", addressingNames, a, b)
}

// RedirectMode says how the old addresses are reached for good: by host routes
// in the fabric, or by the source's rewriting only.
type RedirectMode uint8

// Redirect modes (vendor option 3, third byte).
const (
	RedirectRouted     RedirectMode = 1
	RedirectTranslated RedirectMode = 2
)

var redirectNames = map[RedirectMode]string{1: "routed", 2: "translated"}

func (r RedirectMode) String() string               { return enumName(redirectNames, r) }
func (r RedirectMode) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
func (r *RedirectMode) UnmarshalText(b []byte) error {
	return enumParse("redirect", redirectNames, r, b)
}

// NewConnections is the policy for new connections to an old address of a
// renumbered VM. With kept addresses only PolicyRedirect makes sense.
type NewConnections uint8

// Policies (vendor option 3, fourth byte).
const (
	PolicyRedirect NewConnections = 1
	PolicyDrop     NewConnections = 2
	PolicyReject   NewConnections = 3
)

var policyNames = map[NewConnections]string{1: "redirect", 2: "drop", 3: "reject"}

func (n NewConnections) String() string                { return enumName(policyNames, n) }
func (n NewConnections) MarshalText() ([]byte, error)  { return []byte(n.String()), nil }
func (n *NewConnections) UnmarshalText(b []byte) error { return enumParse("new", policyNames, n, b) }

// Phase places a Request within a move (vendor option 3, fifth byte). Unlike
// the other enums 0 is a value: the draft's plain single exchange.
type Phase uint8

// Phases.
const (
	PhaseSingle  Phase = 0
	PhasePrepare Phase = 1
	PhaseCommit  Phase = 2
	PhaseAbort   Phase = 3
)

var phaseNames = map[Phase]string{0: "single", 1: "prepare", 2: "commit", 3: "abort"}

func (p Phase) String() string                { return enumName(phaseNames, p) }
func (p Phase) MarshalText() ([]byte, error)  { return []byte(p.String()), nil }
func (p *Phase) UnmarshalText(b []byte) error { return enumParse("phase", phaseNames, p, b) }

// MoveOptions is vendor option 3: what a move asks for, and its phase.
type MoveOptions struct {
	Mode      Mode           `json:"mode"`
	Addresses Addressing     `json:"addresses"`
	Redirect  RedirectMode   `json:"redirect"`
	New       NewConnections `json:"new"`
	Phase     Phase          `json:"phase"`
}

// WithPhase returns a copy with another phase.
func (m MoveOptions) WithPhase(p Phase) MoveOptions { m.Phase = p; return m }

// Validate refuses combinations that make no sense: values out of range, and a
// policy other than redirect with kept addresses (protocol profile section 3).
func (m MoveOptions) Validate() error {
	switch {
	case modeNames[m.Mode] == "":
		return fmt.Errorf("mobility: mode %d: want cold, warm or hot", m.Mode)
	case addressingNames[m.Addresses] == "":
		return fmt.Errorf("mobility: addresses %d: want keep or renumber", m.Addresses)
	case redirectNames[m.Redirect] == "":
		return fmt.Errorf("mobility: redirect %d: want routed or translated", m.Redirect)
	case policyNames[m.New] == "":
		return fmt.Errorf("mobility: new %d: want redirect, drop or reject", m.New)
	case phaseNames[m.Phase] == "":
		return fmt.Errorf("mobility: phase %d: want single, prepare, commit or abort", m.Phase)
	case m.Addresses == AddressesKeep && m.New != PolicyRedirect:
		return fmt.Errorf("mobility: new connections cannot be %s while addresses are kept: the old address is the VM's only one (want redirect, or addresses = renumber)", m.New)
	}
	return nil
}

func enumName[E ~uint8](names map[E]string, v E) string {
	if s, ok := names[v]; ok {
		return s
	}
	return fmt.Sprintf("invalid(%d)", uint8(v))
}

func enumParse[E ~uint8](what string, names map[E]string, v *E, b []byte) error {
	for k, s := range names {
		if s == string(b) {
			*v = k
			return nil
		}
	}
	return fmt.Errorf("mobility: %s %q is not known", what, b)
}
