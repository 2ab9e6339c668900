package dnsupdate

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// FailureKind says why a question to a server had no good answer.
type FailureKind uint8

// The kinds of failure, each with what comes next.
const (
	_                   FailureKind = iota
	FailureUnreachable              // no connection, or it broke: the next server, then back-off
	FailureTimeout                  // connected, but no answer in time: as above
	FailureServer                   // SERVFAIL and other rcodes: as above
	FailureMalformed                // an answer that does not belong to the question: as above
	FailureUnsigned                 // an answer without the signature it must have: as above
	FailureNotAuth                  // the server does not serve the zone: as above
	FailureKey                      // it does not take the key (BADKEY, BADSIG, BADTRUNC): the next key, then the longest back-off
	FailureClock                    // our clock is off (BADTIME): the longest back-off
	FailureRefused                  // policy forbids the update: the longest back-off
	FailurePrerequisite             // an epoch record changed meanwhile: read again
	FailureStale                    // the DNS holds a newer version: the end
	FailureForeign                  // the name is another VM's: the longest back-off
	FailureRecord                   // an epoch record is not ours to read: the longest back-off
	FailureConfig                   // no server, no key or an unbuildable message here: the longest back-off
	FailureProof                    // written, but not seen at every server in time: read and prove again
)

var failureNames = map[FailureKind]string{
	FailureUnreachable: "unreachable", FailureTimeout: "timeout", FailureServer: "server",
	FailureMalformed: "malformed", FailureUnsigned: "unsigned", FailureNotAuth: "notauth",
	FailureKey: "key", FailureClock: "clock", FailureRefused: "refused",
	FailurePrerequisite: "prerequisite", FailureStale: "stale", FailureForeign: "foreign", FailureRecord: "record",
	FailureConfig: "config", FailureProof: "proof",
}

func (k FailureKind) String() string {
	if s, ok := failureNames[k]; ok {
		return s
	}
	return fmt.Sprintf("failure%d", uint8(k))
}

// MarshalText gives the form of String.
func (k FailureKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the form of String.
func (k *FailureKind) UnmarshalText(b []byte) error {
	for kind, name := range failureNames {
		if name == string(b) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("dnsupdate: unknown failure %q", b)
}

// needsOperator reports whether trying again soon is of no use.
func (k FailureKind) needsOperator() bool {
	switch k {
	case FailureKey, FailureClock, FailureRefused, FailureForeign, FailureRecord, FailureConfig:
		return true
	}
	return false
}

// Failure is the error of one exchange. It is a value that can be kept as JSON.
type Failure struct {
	Kind   FailureKind    `json:"kind"`
	Zone   string         `json:"zone"`
	Server netip.AddrPort `json:"server,omitzero"`
	// Key is the name of the TSIG key used, if any.
	Key    string `json:"key,omitempty"`
	Detail string `json:"detail"`
	// Skew is how far the server's clock is ahead of ours; FailureClock only.
	Skew time.Duration `json:"-"`
}

func (f *Failure) Error() string {
	s := "dnsupdate: zone " + f.Zone
	if f.Server.IsValid() {
		s += " at " + f.Server.String()
	}
	if f.Key != "" {
		s += " with key " + f.Key
	}
	return s + ": " + f.Detail
}

// Is makes a stale or foreign failure match ErrStale or ErrForeign.
func (f *Failure) Is(target error) bool {
	switch target {
	case ErrStale:
		return f.Kind == FailureStale
	case ErrForeign:
		return f.Kind == FailureForeign
	case ErrEpochRecord:
		return f.Kind == FailureRecord
	}
	return false
}

// failureJSON adds the skew as text.
type failureJSON struct {
	failureFields
	Skew string `json:"skew,omitempty"`
}

type failureFields Failure

// MarshalJSON writes the skew as a duration in text.
func (f Failure) MarshalJSON() ([]byte, error) {
	j := failureJSON{failureFields: failureFields(f)}
	if f.Skew != 0 {
		j.Skew = f.Skew.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the form of MarshalJSON.
func (f *Failure) UnmarshalJSON(b []byte) (err error) {
	var j failureJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*f = Failure(j.failureFields)
	if j.Skew != "" {
		f.Skew, err = time.ParseDuration(j.Skew)
	}
	return err
}
