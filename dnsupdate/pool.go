package dnsupdate

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// maxConns bounds the connections to one server; BIND takes 150 from everybody
// together (tcp-clients).
const maxConns = 8

// pool bounds the connections to each server and keeps idle ones. The zero value
// is ready.
type pool struct {
	mu      sync.Mutex // guards servers and what they hold
	servers map[netip.AddrPort]*serverConns
}

type serverConns struct {
	slots chan struct{}
	idle  []net.Conn
}

// enter waits for a slot at the server; release gives it back.
func (p *pool) enter(ctx context.Context, server netip.AddrPort) (release func(), err error) {
	p.mu.Lock()
	slots := p.of(server).slots
	p.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// of needs mu.
func (p *pool) of(server netip.AddrPort) *serverConns {
	if p.servers == nil {
		p.servers = map[netip.AddrPort]*serverConns{}
	}
	s := p.servers[server]
	if s == nil {
		s = &serverConns{slots: make(chan struct{}, maxConns)}
		p.servers[server] = s
	}
	return s
}

// get takes an idle connection, the one used last; nil if there is none.
func (p *pool) get(server netip.AddrPort) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of(server)
	if len(s.idle) == 0 {
		return nil
	}
	last := len(s.idle) - 1
	conn := s.idle[last]
	s.idle = s.idle[:last]
	return conn
}

// put keeps a connection; its owner holds a slot, so there are at most maxConns.
func (p *pool) put(server netip.AddrPort, conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of(server)
	s.idle = append(s.idle, conn)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		for _, conn := range s.idle {
			conn.Close()
		}
		s.idle = nil
	}
}
