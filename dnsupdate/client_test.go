package dnsupdate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var nowhere = netip.MustParseAddrPort("192.0.2.1:53")

// answering is a client whose server is the function, over a pipe.
func answering(t *testing.T, serve func(*dns.Conn, *dns.Msg)) *Client {
	t.Helper()
	c := &Client{Timeout: 5 * time.Second, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			conn := &dns.Conn{Conn: framed{far}}
			for {
				m, err := conn.ReadMsg()
				if m == nil || err != nil && !errors.Is(err, dns.ErrSecret) {
					return
				}
				serve(conn, m)
			}
		}()
		return near, nil
	}}
	t.Cleanup(c.Close)
	return c
}

// framed hides that a pipe is not a packet connection, so that dns.Conn frames
// as on TCP.
type framed struct{ net.Conn }

func (framed) LocalAddr() net.Addr { return &net.TCPAddr{} }

func key(t *testing.T, name string) *Key {
	t.Helper()
	k, err := NewKey(name, "hmac-sha256", []byte(strings.Repeat(name, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return &k
}

// TestAnswersRefused sends answers that must not be believed.
func TestAnswersRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer func(m, r *dns.Msg)
		kind   FailureKind
		want   string
	}{
		{"unsigned success", func(_, _ *dns.Msg) {}, FailureUnsigned, "NOERROR without a signature"},
		{"unsigned refusal", func(_, r *dns.Msg) { r.Rcode = dns.RcodeRefused }, FailureUnsigned, "REFUSED without a signature"},
		{"forged MAC", func(_, r *dns.Msg) { tsig(r, "a.", strings.Repeat("00", 32)) }, FailureUnsigned, "signature is wrong"},
		{"forged NOTAUTH", func(_, r *dns.Msg) { r.Rcode = dns.RcodeNotAuth; tsig(r, "a.", strings.Repeat("00", 32)) }, FailureUnsigned, "signature is wrong"},
		{"short MAC", func(_, r *dns.Msg) { tsig(r, "a.", "00") }, FailureUnsigned, "signature is wrong"},
		{"another key", func(_, r *dns.Msg) { tsig(r, "b.", strings.Repeat("00", 32)) }, FailureUnsigned, "signature is wrong"},
		{"another question", func(_, r *dns.Msg) { r.Id++ }, FailureMalformed, "another question"},
		{"a question", func(_, r *dns.Msg) { r.Response = false }, FailureMalformed, "another question"},
		{"another opcode", func(_, r *dns.Msg) { r.Opcode = dns.OpcodeQuery }, FailureMalformed, "another question"},
	}
	for _, tt := range tests {
		c := answering(t, func(conn *dns.Conn, m *dns.Msg) {
			r := new(dns.Msg)
			r.SetReply(m)
			tt.answer(m, r)
			b, err := r.Pack()
			if err != nil {
				panic(err)
			}
			_, _ = conn.Write(b)
		})
		err := c.Write(t.Context(), nowhere, key(t, "a."), Update{Zone: "example."}, nil)
		var f *Failure
		if !errors.As(err, &f) || f.Kind != tt.kind || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s with %q", tt.name, err, tt.kind, tt.want)
		}
	}
}

func tsig(m *dns.Msg, name, mac string) {
	m.Extra = append(m.Extra, &dns.TSIG{
		Hdr:       dns.RR_Header{Name: name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: dns.HmacSHA256, TimeSigned: uint64(time.Now().Unix()), Fudge: 300,
		MACSize: uint16(len(mac) / 2), MAC: mac, OrigId: m.Id,
	})
}

// TestReusedConnection signs two messages on one connection, and outlives a
// server that closes it in between.
func TestReusedConnection(t *testing.T) {
	t.Parallel()
	k := key(t, "a.")
	dialled, count := 0, 0
	c := answering(t, func(conn *dns.Conn, m *dns.Msg) {
		if count++; count == 3 {
			conn.Close()
			return
		}
		r := new(dns.Msg)
		r.SetReply(m)
		r.Authoritative = true
		in := m.IsTsig()
		r.SetTsig(k.name, k.algorithm, 300, time.Now().Unix())
		b, _, err := dns.TsigGenerateWithProvider(r, keyProvider{*k}, in.MAC, false)
		if err != nil {
			panic(err)
		}
		_, _ = conn.Write(b)
	})
	dial := c.Dial
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled++
		return dial(ctx, network, address)
	}
	for range 4 {
		if err := c.Write(t.Context(), nowhere, k, Update{Zone: "example."}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if dialled != 2 {
		t.Errorf("%d connections, want 2: one reused, one after it was closed", dialled)
	}
}

// TestSilentServer must end by the time-out, and give its slot back.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	c := answering(t, func(*dns.Conn, *dns.Msg) {})
	c.Timeout = 10 * time.Millisecond
	for range 2 * maxConns {
		err := c.Write(t.Context(), nowhere, key(t, "a."), Update{Zone: "example."}, nil)
		var f *Failure
		if !errors.As(err, &f) || f.Kind != FailureTimeout || !strings.Contains(err.Error(), "no answer within 10ms") {
			t.Fatalf("%v, want a time-out", err)
		}
	}
}
