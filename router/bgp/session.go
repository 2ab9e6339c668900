package bgp

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Session is the state of one peer's session.
type Session struct {
	Peer    Peer // without its password
	State   string
	Since   time.Time // of the state; zero: unknown
	Flaps   uint32    // times that it went down since the start
	Down    string    // why it went down last, in the protocol's words
	Problem string    // what is probably wrong, in ours; empty: nothing

	Received, Accepted, Refused, Announced int
	Stale                                  bool // its routes are kept although it is down (graceful restart)
	MD5                                    bool
}

// States of a session that others look at.
const (
	Established = "established" // it works
	Waiting     = "waiting"     // nothing is spoken yet: an address to listen on is missing
)

// MD5Failures are the kernel's counts of TCP segments whose MD5 signature
// (RFC 2385) was missing, uncalled-for or wrong.
type MD5Failures struct{ Missing, Unexpected, Wrong uint64 }

// ReadMD5Failures reads them from /proc/net/netstat.
func ReadMD5Failures(r io.Reader) (MD5Failures, error) {
	var names []string
	var f MD5Failures
	for sc := bufio.NewScanner(r); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) == 0 || fields[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names[:min(len(names), len(fields))] {
			n, _ := strconv.ParseUint(fields[i], 10, 64)
			switch name {
			case "TCPMD5NotFound":
				f.Missing = n
			case "TCPMD5Unexpected":
				f.Unexpected = n
			case "TCPMD5Failure":
				f.Wrong = n
			}
		}
		return f, nil
	}
	return f, fmt.Errorf("bgp: no TcpExt counters")
}

// patience is how long a session may take to come up before that is a problem.
const patience = 5 * time.Second

// diagnose says what is probably wrong with a session; grown is by how much the
// kernel's counts have grown since it went down.
func diagnose(s *Session, grown MD5Failures, now time.Time) string {
	if s.State == Established {
		return ""
	}
	switch {
	case s.MD5 && grown.Wrong > 0:
		return fmt.Sprintf("the MD5 key of peer %q is another one than ours: %d segments had a wrong signature", s.Peer.Name, grown.Wrong)
	case s.MD5 && grown.Missing > 0:
		return fmt.Sprintf("peer %q does not sign with MD5, and we want it to: %d segments had no signature", s.Peer.Name, grown.Missing)
	case !s.MD5 && grown.Unexpected > 0:
		return fmt.Sprintf("peer %q signs with MD5, and no password is configured here: %d segments had a signature", s.Peer.Name, grown.Unexpected)
	case s.Down != "":
		return s.Down
	case now.Sub(s.Since) < patience:
		return ""
	case s.MD5:
		return fmt.Sprintf("no answer from %s: it is away, does not listen, or its MD5 key is another one", s.Peer.Address)
	}
	return fmt.Sprintf("no answer from %s: it is away, does not listen, or does not know us as its neighbour", s.Peer.Address)
}

// familyOf names the family of an address.
func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}
