package main

import (
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/router/igp"
)

// frrTable is [frr]: the FRR beside which a default router runs.
type frrTable struct {
	Protocols  []string            `toml:"protocols"`
	Ranges     []strictconf.Prefix `toml:"ranges"`
	Interfaces []string            `toml:"interfaces"`
	ISISTag    string              `toml:"isis_tag"`
	ASN        uint32              `toml:"asn"`
	Metric     uint32              `toml:"metric"`
	VTYSH      string              `toml:"vtysh"`
	SocketDir  strictconf.Path     `toml:"socket_dir"`
}

// options reads the table; nil where there is none.
func (t *frrTable) options() (*igp.Options, error) {
	if len(t.Protocols) == 0 {
		return nil, nil
	}
	o := &igp.Options{Ranges: prefixes(t.Ranges), Interfaces: t.Interfaces, ISISTag: t.ISISTag, ASN: t.ASN, Metric: t.Metric}
	for _, s := range t.Protocols {
		p, err := igp.ParseProtocol(s)
		if err != nil {
			return nil, err
		}
		o.Protocols = append(o.Protocols, p)
	}
	return o, o.Check()
}

func (t *frrTable) shell() igp.Shell { return igp.VTYSH{Path: t.VTYSH, Socket: t.SocketDir.String()} }
