package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/netns"
)

// management is a real dpmip-mgmt in a namespace of its own, and beside it a
// namespace that stands for all hypervisors.
type management struct {
	set     *netns.Set
	mgmt    *netns.NS
	hosts   *netns.NS
	dir     string // on a real disk: fsync is part of what is measured
	bin     string
	fleet   []hostPlan
	process *netns.Process
}

// hostPlan is one hypervisor of the fleet as the inventory has it.
type hostPlan struct {
	Name           string
	Locator        netip.Addr
	Range, Pool    netip.Prefix
	ToHost, ToMgmt uint32 // SPIs
	Secret         string // hexadecimal
}

var mgmtLocator = netip.MustParseAddr("2001:db8:ff::1")

func planHost(i int) hostPlan {
	sum := sha256.Sum256(fmt.Appendf(nil, "dpmip bench %d", i))
	return hostPlan{
		Name: fmt.Sprintf("hv%d", i), Locator: netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i+1)),
		Range:  netip.MustParsePrefix(fmt.Sprintf("2001:db8:1000:%x::/64", i)),
		Pool:   netip.MustParsePrefix(fmt.Sprintf("2001:db8:2000:%x::/64", i)),
		ToHost: uint32(1000 + 2*i), ToMgmt: uint32(1001 + 2*i), Secret: hex.EncodeToString(sum[:]),
	}
}

var mgmtTemplates = template.Must(template.New("").Parse(`
{{define "mgmt"}}state_dir = "{{.Dir}}/state"
locators = ["{{.Locator}}"]
inventory = "inventory.toml"
admin_socket = "{{.Dir}}/mgmt.sock"
{{end}}
{{define "inventory"}}[policy]
allow_unknown_vms = true
[timers]
heartbeat = "1s"
{{range .}}
[[hypervisor]]
name = "{{.Name}}"
locators = ["{{.Locator}}"]
ranges = ["{{.Range}}"]
pools = ["{{.Pool}}"]
keys = [{ send = {{.ToHost}}, receive = {{.ToMgmt}}, key = "hex:{{.Secret}}" }]
{{end}}{{end}}`))

// newManagement makes the namespaces and files; launch starts the program.
func newManagement(o *Options, hosts int) (m *management, err error) {
	m = &management{bin: o.Bin}
	if m.dir, err = os.MkdirTemp(o.Dir, "dpmip-bench-"); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if m.set, err = netns.Open("", "bench"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(m.dir))
	}
	for i := range hosts {
		m.fleet = append(m.fleet, planHost(i))
	}
	if err := errors.Join(m.network(), m.write("mgmt", "mgmt.toml", map[string]any{"Dir": m.dir, "Locator": mgmtLocator}), m.write("inventory", "inventory.toml", m.fleet)); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *management) close() error {
	return errors.Join(m.set.Close(), os.RemoveAll(m.dir))
}

// network joins both namespaces: every locator lies on the link.
func (m *management) network() (err error) {
	if m.mgmt, err = space(m.set, "mgmt", false); err != nil {
		return err
	}
	if m.hosts, err = space(m.set, "hosts", false); err != nil {
		return err
	}
	if err := join(m.mgmt, "fab0", m.hosts, "fab0"); err != nil {
		return err
	}
	if err := m.mgmt.AddAddr("fab0", netip.PrefixFrom(mgmtLocator, 32)); err != nil {
		return err
	}
	for _, h := range m.fleet {
		if err := m.hosts.AddAddr("fab0", netip.PrefixFrom(h.Locator, 32)); err != nil {
			return err
		}
	}
	return nil
}

func (m *management) write(name, file string, data any) error {
	var b strings.Builder
	if err := mgmtTemplates.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, file), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// launch starts dpmip-mgmt and waits until it serves.
func (m *management) launch(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer log.Close()
	bin, err := filepath.Abs(filepath.Join(m.bin, "dpmip-mgmt"))
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	cmd := exec.Command(bin, "--config", filepath.Join(m.dir, "mgmt.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	if m.process, err = m.mgmt.Start(cmd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("unix", filepath.Join(m.dir, "mgmt.sock"))
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("bench: dpmip-mgmt does not serve: %w", err)
		case <-m.process.Done():
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("bench: dpmip-mgmt has ended: %s", text)
		case <-tick.C:
		}
	}
}

func (m *management) database() string { return filepath.Join(m.dir, "state", "mgmt.db") }

// dial opens the transport of a hypervisor of the fleet.
func (m *management) dial(h hostPlan) (c *transport.Conn, err error) {
	secret, err := hex.DecodeString(h.Secret)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	key := func(spi uint32) transport.Key {
		return transport.Key{SPI: spi, Algorithm: wire.HMACSHA256, Secret: secret}
	}
	table, err := transport.NewTable([]transport.Peer{{Addr: mgmtLocator, Receive: []transport.Key{key(h.ToHost)}, Send: key(h.ToMgmt)}}, false)
	if err != nil {
		return nil, err
	}
	err = m.hosts.Do(func() error {
		c, err = transport.Open(transport.Config{Locators: []netip.Addr{h.Locator}, LockDir: m.dir})
		return err
	})
	if err != nil {
		return nil, err
	}
	c.SetPeers(table)
	return c, nil
}
