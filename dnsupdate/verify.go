package dnsupdate

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"time"

	"github.com/miekg/dns"
)

// tsigFudge is the window for clocks that both sides accept, in seconds
// (RFC 8945 section 10 recommends 300).
const tsigFudge = 300

// keyProvider signs and verifies with one key and no other.
type keyProvider struct{ key Key }

// Generate gives the full HMAC.
func (p keyProvider) Generate(msg []byte, _ *dns.TSIG) ([]byte, error) {
	digest := map[string]func() hash.Hash{
		dns.HmacSHA256: sha256.New, dns.HmacSHA384: sha512.New384, dns.HmacSHA512: sha512.New,
	}[p.key.algorithm]
	h := hmac.New(digest, p.key.secret)
	h.Write(msg)
	return h.Sum(nil), nil
}

// Verify compares in constant time; a truncated MAC is refused.
func (p keyProvider) Verify(msg []byte, t *dns.TSIG) error {
	if canonical(t.Hdr.Name) != p.key.name || canonical(t.Algorithm) != p.key.algorithm {
		return dns.ErrSecret
	}
	want, err := p.Generate(msg, t)
	if err != nil {
		return err
	}
	got, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(want, got) {
		return dns.ErrSig
	}
	return nil
}

// check parses and verifies the answer to m, whose MAC is given, and turns its
// rcode into a failure.
func (c *Client) check(to target, m *dns.Msg, in []byte, mac string) (*dns.Msg, *Failure) {
	r := new(dns.Msg)
	if err := r.Unpack(in); err != nil {
		return nil, to.fail(FailureMalformed, "malformed answer: %v", err)
	}
	if r.Id != m.Id || !r.Response || r.Opcode != m.Opcode {
		return nil, to.fail(FailureMalformed, "the answer belongs to another question")
	}
	if to.key != nil {
		if f := c.verify(to, r, in, mac); f != nil {
			return nil, f
		}
	}
	if f := to.rcode(r); f != nil {
		return nil, f
	}
	return r, nil
}

// verify checks the TSIG of an answer to a signed question (RFC 8945 5.4).
func (c *Client) verify(to target, r *dns.Msg, in []byte, mac string) *Failure {
	t := r.IsTsig()
	if t == nil {
		return to.fail(FailureUnsigned, "%s without a signature", dns.RcodeToString[r.Rcode])
	}
	switch t.Error {
	case dns.RcodeBadKey:
		return to.fail(FailureKey, "%s (BADKEY): the server does not know this key", dns.RcodeToString[r.Rcode])
	case dns.RcodeBadSig:
		return to.fail(FailureKey, "%s (BADSIG): the server has another secret or algorithm for this key", dns.RcodeToString[r.Rcode])
	case dns.RcodeBadTrunc:
		return to.fail(FailureKey, "%s (BADTRUNC): the server wants another length of the signature", dns.RcodeToString[r.Rcode])
	}
	err := verifyMAC(in, *to.key, mac)
	if err != nil && !errors.Is(err, dns.ErrTime) { // its clock is the system's: the window is checked below
		return to.fail(FailureUnsigned, "the answer's signature is wrong: %v", err)
	}
	if t.Error == dns.RcodeBadTime {
		return c.badTime(to, r, t)
	}
	if skew := time.Unix(int64(t.TimeSigned), 0).Sub(c.now()); skew.Abs() > (tsigFudge+1)*time.Second {
		return to.clock(skew, "the answer")
	}
	return nil
}

// verifyMAC checks an answer's MAC. The wire library refuses to look at answers
// with NOTAUTH, although those to a known key are signed (RFC 8945 5.3.2): it
// gets a copy without that rcode, and the provider puts it back.
func verifyMAC(in []byte, key Key, requestMAC string) error {
	in = bytes.Clone(in) // the library changes it
	if rcode := in[3] & 0xf; rcode == dns.RcodeNotAuth {
		in[3] &^= 0xf
		return dns.TsigVerifyWithProvider(in, notAuthProvider{keyProvider{key}, 2 + len(requestMAC)/2}, requestMAC, false)
	}
	return dns.TsigVerifyWithProvider(in, keyProvider{key}, requestMAC, false)
}

// notAuthProvider verifies an answer whose rcode was NOTAUTH; the message begins
// at offset header of what is signed, after the request's MAC.
type notAuthProvider struct {
	keyProvider
	header int
}

func (p notAuthProvider) Verify(msg []byte, t *dns.TSIG) error {
	msg[p.header+3] |= dns.RcodeNotAuth
	return p.keyProvider.Verify(msg, t)
}

// badTime reads the server's time, 48 bits of seconds, from the answer.
func (c *Client) badTime(to target, r *dns.Msg, t *dns.TSIG) *Failure {
	secs, err := strconv.ParseUint(t.OtherData, 16, 48)
	if err != nil {
		return to.fail(FailureClock, "%s (BADTIME): the clocks differ by more than %d s", dns.RcodeToString[r.Rcode], tsigFudge)
	}
	return to.clock(time.Unix(int64(secs), 0).Sub(c.now()), dns.RcodeToString[r.Rcode]+" (BADTIME)")
}

func (t target) clock(skew time.Duration, what string) *Failure {
	side := "behind"
	if skew < 0 {
		side = "ahead of"
	}
	f := t.fail(FailureClock, "%s: our clock is %v %s the server's, allowed are %d s", what, skew.Abs().Round(time.Second), side, tsigFudge)
	f.Skew = skew
	return f
}

// rcode gives the failure of an answer, nil for NOERROR and, but for an update,
// NXDOMAIN.
func (t target) rcode(r *dns.Msg) *Failure {
	update := r.Opcode == dns.OpcodeUpdate
	name := dns.RcodeToString[r.Rcode]
	switch r.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeNameError, dns.RcodeNXRrset, dns.RcodeYXRrset, dns.RcodeYXDomain:
		if !update {
			return nil
		}
		return t.fail(FailurePrerequisite, "%s: an epoch record has changed since it was read", name)
	case dns.RcodeRefused:
		if update && t.key == nil {
			return t.fail(FailureRefused, "%s: the server wants signed updates", name)
		}
		return t.fail(FailureRefused, "%s: the server's policy forbids it", name)
	case dns.RcodeNotAuth:
		return t.fail(FailureNotAuth, "%s: the server is not a primary of the zone", name)
	case dns.RcodeNotZone:
		return t.fail(FailureConfig, "%s: a name lies outside the zone", name)
	}
	return t.fail(FailureServer, "%s", name)
}
