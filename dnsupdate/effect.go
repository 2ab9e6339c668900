package dnsupdate

import (
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// Try names one attempt, so that its result finds its way back. Server and Key
// count on over failures; they are indices modulo how many the zone has.
type Try struct {
	VM     mobility.VMID
	Zone   string
	Turn   uint64
	Server int
	Key    int
}

// Effect is what the Machine wants done.
type Effect interface{ effect() }

// Read asks for the epoch records of the update; the answer is a ReadDone.
type Read struct {
	Try
	Update Update
}

// Write asks that the update be sent with what was Stored as its prerequisite;
// the answer is a WriteDone.
type Write struct {
	Try
	Update Update
	Stored Stored
}

// Prove asks that the update be found at every server of the zone within
// Timeout; the answer is a ProveDone.
type Prove struct {
	Try
	Update  Update
	Timeout time.Duration
}

// Report shows a job after a change worth keeping or telling; the last one of a
// job is Final.
type Report struct{ Job Job }

func (Read) effect()   {}
func (Write) effect()  {}
func (Prove) effect()  {}
func (Report) effect() {}

// Result is the answer to an effect. Those of an older turn are ignored.
type Result interface{ try() Try }

// ReadDone is a successful Read.
type ReadDone struct {
	Try
	Stored Stored
}

// WriteDone is a successful Write.
type WriteDone struct{ Try }

// ProveDone ends a Prove, with one proof a server.
type ProveDone struct {
	Try
	Proofs []Proof
}

// TryFailed ends any of them. Servers and Keys are how many the zone has at this
// node.
type TryFailed struct {
	Try
	Failure       Failure
	Servers, Keys int
}

func (t Try) try() Try { return t }
