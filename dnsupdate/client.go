package dnsupdate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// DefaultTimeout bounds one exchange, connecting included.
const DefaultTimeout = 3 * time.Second

// maxMessage is the largest message that TCP carries (RFC 1035 4.2.2).
const maxMessage = 65535

// Client exchanges single messages with servers over TCP. The zero value works;
// it is safe for concurrent use and must not be copied after the first use. Idle
// connections are kept for reuse until Close.
type Client struct {
	// Dial connects; nil means net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock that signs; nil means time.Now.
	Now func() time.Time
	// Timeout of one exchange; 0 means DefaultTimeout.
	Timeout time.Duration

	pool pool
}

// Close closes the idle connections. The client stays usable.
func (c *Client) Close() { c.pool.close() }

// query asks one question without recursion. A nil key leaves it unsigned.
func (c *Client) query(ctx context.Context, to target, name string, qtype uint16) (*dns.Msg, *Failure) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.RecursionDesired = to.recurse
	return c.exchange(ctx, to, m)
}

// target is where a message goes, and for which zone.
type target struct {
	zone    string
	server  netip.AddrPort
	key     *Key // nil: unsigned
	recurse bool
}

func (t target) fail(kind FailureKind, format string, args ...any) *Failure {
	f := &Failure{Kind: kind, Zone: t.zone, Server: t.server, Detail: fmt.Sprintf(format, args...)}
	if t.key != nil {
		f.Key = t.key.Name()
	}
	return f
}

// exchange sends m once the server has fewer than maxConns exchanges of ours,
// signed if the target has a key, and returns the verified
// answer. Rcodes other than NOERROR and NXDOMAIN are failures.
func (c *Client) exchange(ctx context.Context, to target, m *dns.Msg) (*dns.Msg, *Failure) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	out, mac, err := c.sign(m, to.key)
	if err == nil && len(out) > maxMessage {
		err = fmt.Errorf("%d bytes, a message has at most %d", len(out), maxMessage)
	}
	if err != nil {
		return nil, to.fail(FailureConfig, "cannot build the message: %v", err)
	}
	release, err := c.pool.enter(ctx, to.server)
	if err != nil {
		return nil, to.fail(FailureTimeout, "no free connection: %v", err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	in, err := c.roundTrip(ctx, to.server, out)
	if err != nil {
		return nil, to.unreached(ctx, err, timeout)
	}
	return c.check(to, m, in, mac)
}

func (t target) unreached(ctx context.Context, err error, timeout time.Duration) *Failure {
	var ne net.Error
	if ctx.Err() != nil || errors.As(err, &ne) && ne.Timeout() {
		return t.fail(FailureTimeout, "no answer within %v", timeout)
	}
	return t.fail(FailureUnreachable, "unreachable: %v", err)
}

// sign packs the message. The MAC state is new for every exchange: in a reused
// dns.Conn it would leak into the next signature, which servers answer BADSIG.
func (c *Client) sign(m *dns.Msg, key *Key) (wire []byte, mac string, err error) {
	m.Compress = true
	if key == nil {
		wire, err = m.Pack()
		return wire, "", err
	}
	signed := m.Copy()
	signed.SetTsig(key.name, key.algorithm, tsigFudge, c.now().Unix())
	return dns.TsigGenerateWithProvider(signed, keyProvider{*key}, "", false)
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// roundTrip uses an idle connection if there is one; a server may have closed it
// meanwhile, so a failure there is tried once more on a new one. That is safe:
// an update that was applied before the connection broke fails its prerequisite.
func (c *Client) roundTrip(ctx context.Context, server netip.AddrPort, out []byte) ([]byte, error) {
	if conn := c.pool.get(server); conn != nil {
		in, err := transfer(ctx, conn, out)
		if err == nil {
			c.pool.put(server, conn)
			return in, nil
		}
		conn.Close()
		if ctx.Err() != nil {
			return nil, err
		}
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	in, err := transfer(ctx, conn, out)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.pool.put(server, conn)
	return in, nil
}

// transfer writes one message and reads one, until ctx is done.
func transfer(ctx context.Context, conn net.Conn, out []byte) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(out)), uint16(len(out)))
	if _, err := conn.Write(append(frame, out...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	in := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, in); err != nil {
		return nil, err
	}
	if !stop() { // the deadline is or will be set: not for reuse
		return nil, ctx.Err()
	}
	return in, nil
}
