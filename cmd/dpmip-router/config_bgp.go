package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"

	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/router/bgp"
)

// bgpTable is [bgp]: the border router's role. docs/fabric.md explains each key.
type bgpTable struct {
	ASN              uint32              `toml:"asn"`
	RouterID         strictconf.Addr     `toml:"router_id"`
	Listen           []strictconf.Addr   `toml:"listen"`
	Port             uint16              `toml:"port"`
	Name             string              `toml:"site"`
	Locators         []strictconf.Prefix `toml:"locators"`
	NextHops         []strictconf.Addr   `toml:"next_hops"`
	Ranges           []strictconf.Prefix `toml:"ranges"`
	Communities      []string            `toml:"communities"`
	LargeCommunities []string            `toml:"large_communities"`
	Accept           []string            `toml:"accept_communities"`
	AcceptLarge      []string            `toml:"accept_large_communities"`
	Metric           uint32              `toml:"metric"`
	MaxImports       int                 `toml:"max_imports"`
	GracefulRestart  bool                `toml:"graceful_restart"`
	RestartTime      strictconf.Duration `toml:"restart_time"`
	Sites            []siteTable         `toml:"sites"`
	Peers            []peerTable         `toml:"peers"`
}

type siteTable struct {
	Name     string              `toml:"name,required"`
	Locators []strictconf.Prefix `toml:"locators,required"`
	NextHops []strictconf.Addr   `toml:"next_hops"`
}

type peerTable struct {
	Name         string              `toml:"name,required"`
	Address      strictconf.Addr     `toml:"address,required"`
	ASN          uint32              `toml:"asn,required"`
	Local        strictconf.Addr     `toml:"local"`
	Port         uint16              `toml:"port"`
	Passive      bool                `toml:"passive"`
	Hops         uint8               `toml:"hops"`
	Password     strictconf.Path     `toml:"password_file"`
	Announce     string              `toml:"announce"`
	NoExport     bool                `toml:"no_export"`
	Accept       bool                `toml:"accept"`
	MaxPrefixes  uint32              `toml:"max_prefixes"`
	HoldTime     strictconf.Duration `toml:"hold_time"`
	ConnectRetry strictconf.Duration `toml:"connect_retry"`
}

// border reads the table; nil where there is none.
func (t *bgpTable) border() (*bgp.Config, error) {
	if t.ASN == 0 && len(t.Peers) == 0 {
		return nil, nil
	}
	c := &bgp.Config{
		ASN: t.ASN, RouterID: t.RouterID.Addr, Listen: addrs(t.Listen), Port: t.Port, Ranges: prefixes(t.Ranges), MaxImports: t.MaxImports,
		GracefulRestart: t.GracefulRestart, RestartTime: t.RestartTime.D(),
		Own: bgp.Site{Name: t.Name, Locators: prefixes(t.Locators), NextHops: addrs(t.NextHops)},
	}
	for _, s := range t.Sites {
		c.Sites = append(c.Sites, bgp.Site{Name: s.Name, Locators: prefixes(s.Locators), NextHops: addrs(s.NextHops)})
	}
	var err error
	if c.Put, err = tags(t.Communities, t.LargeCommunities); err != nil {
		return nil, err
	}
	if c.Want, err = tags(t.Accept, t.AcceptLarge); err != nil {
		return nil, err
	}
	if c.Want.Empty() {
		c.Want = c.Put
	}
	for _, p := range t.Peers {
		peer, err := p.peer()
		if err != nil {
			return nil, fmt.Errorf("peer %q: %w", p.Name, err)
		}
		c.Peers = append(c.Peers, peer)
	}
	return c, c.Check()
}

func tags(standard, large []string) (t bgp.Tags, err error) {
	for _, s := range standard {
		c, err := bgp.ParseCommunity(s)
		if err != nil {
			return t, fmt.Errorf("community %w", err)
		}
		t.Standard = append(t.Standard, c)
	}
	for _, s := range large {
		l, err := bgp.ParseLarge(s)
		if err != nil {
			return t, fmt.Errorf("large community %w", err)
		}
		t.Large = append(t.Large, l)
	}
	return t, nil
}

func (p *peerTable) peer() (bgp.Peer, error) {
	out := bgp.Peer{
		Name: p.Name, Address: p.Address.Addr, ASN: p.ASN, Local: p.Local.Addr, Port: p.Port, Passive: p.Passive, Hops: p.Hops,
		Announce: bgp.ScopeArrived, NoExport: p.NoExport, Accept: p.Accept, MaxPrefixes: p.MaxPrefixes, HoldTime: p.HoldTime.D(), ConnectRetry: p.ConnectRetry.D(),
	}
	var err error
	if p.Announce != "" {
		if out.Announce, err = bgp.ParseScope(p.Announce); err != nil {
			return out, fmt.Errorf("announce: %w", err)
		}
	}
	if p.Password != "" {
		if out.Password, err = readPassword(p.Password.String()); err != nil {
			return out, fmt.Errorf("password_file: %w", err)
		}
	}
	return out, nil
}

// readPassword reads the first line of a file that only its owner may read.
func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: others may read it (mode %04o): chmod 600", path, st.Mode().Perm())
	}
	sc := bufio.NewScanner(f)
	sc.Scan()
	if sc.Err() != nil || sc.Text() == "" {
		return "", fmt.Errorf("%s: its first line is empty", path)
	}
	return sc.Text(), nil
}

func addrs(list []strictconf.Addr) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, a.Addr)
	}
	return out
}

func prefixes(list []strictconf.Prefix) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, p.Prefix)
	}
	return out
}
