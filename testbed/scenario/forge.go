package scenario

import (
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/topology"
)

// forge sends a Request to a hypervisor from the management node's locator,
// signed with the management node's key, beside the management node itself; it
// waits for the answer. Only the lab can do this: it made the keys.
func (d *DataCentre) forge(ctx context.Context, to string, q registration.Request) (*registration.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := d.secondConn(to)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	node, err := registration.NewNode(registration.Config{Role: registration.RoleManagement, Self: d.Lab.Plan.Mgmt.V6,
		Heartbeat: -1, Seed: uint64(time.Now().UnixNano())})
	if err != nil {
		return nil, err
	}
	answers := make(chan registration.Reply, 1)
	var mu sync.Mutex // guards node
	ended := make(chan error, 1)
	go func() {
		ended <- conn.Run(ctx, func(batch []registration.Inbound) {
			mu.Lock()
			defer mu.Unlock()
			for _, in := range batch {
				if in.Message.Type != wire.TypeReply { // the management node's own business
					continue
				}
				for _, e := range node.Receive(time.Now(), in, nil) {
					if r, ok := e.(registration.Replied); ok {
						answers <- r.Reply
					}
				}
			}
		})
	}()
	h, _ := d.Lab.Plan.Hypervisor(to)
	mu.Lock()
	err = sendAll(ctx, conn, node.Submit(time.Now(), 1, h.Locator.V6, q, nil))
	mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case r := <-answers:
		return &r, nil
	case err := <-ended:
		return nil, fmt.Errorf("scenario: forged Request to %s: no answer: %w", to, err)
	}
}

func sendAll(ctx context.Context, conn *transport.Conn, effects []registration.Effect) error {
	for _, e := range effects {
		if s, ok := e.(registration.Send); ok {
			if err := conn.Send(ctx, []registration.Send{s}); err != nil {
				return err
			}
		}
	}
	return nil
}

// secondConn opens a transport in the management node's namespace, with the
// keys of one hypervisor.
func (d *DataCentre) secondConn(hv string) (*transport.Conn, error) {
	n := d.Lab.Node(topology.Mgmt)
	var conn *transport.Conn
	err := n.NS.Do(func() (err error) {
		conn, err = transport.Open(transport.Config{Locators: d.Lab.Plan.Mgmt.Both()[:1], LockDir: filepath.Join(n.Dir, "forge"), Beside: true})
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, h := range d.Lab.Plan.Hypervisors {
		if h.Name != hv {
			continue
		}
		keys := keysFor(i, h.Name, d.set.Seed)
		secret, err := hex.DecodeString(keys.Secret)
		if err != nil {
			return nil, err
		}
		key := func(spi uint32) transport.Key {
			return transport.Key{SPI: spi, Algorithm: wire.HMACSHA256, Secret: secret}
		}
		table, err := transport.NewTable([]transport.Peer{{Addr: h.Locator.V6, Send: key(keys.ToPeer), Receive: []transport.Key{key(keys.ToMgmt)}}}, false)
		if err != nil {
			return nil, err
		}
		conn.SetPeers(table)
	}
	return conn, nil
}
