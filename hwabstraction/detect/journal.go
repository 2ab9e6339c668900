package detect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/nicmem"
	"github.com/dpmip/dpmip/hwabstraction/software"
)

// journal opens the backend's journal in its area of the region; nil where the
// backend is to keep its own.
func (h *Hardware) journal(c Config) (software.Journal, error) {
	if c.Region.Journal == "" || h.memory == nil {
		return nil, nil
	}
	area, err := h.Area(c.Region.Journal)
	if err != nil {
		return nil, err
	}
	j, err := nicmem.OpenJournal(area.Bytes())
	if errors.Is(err, hwabstraction.ErrRegionCorrupt) {
		c.Log.Warn("the journal of kernel routes is corrupt and starts anew: routes of earlier processes are foreign now", "err", err)
		j, err = nicmem.FormatJournal(area.Bytes())
	}
	if err != nil {
		return nil, fmt.Errorf("detect: area %q: %w", c.Region.Journal, err)
	}
	return routes{j}, nil
}

// routes is a nicmem.Journal as the software backend wants one.
type routes struct{ j *nicmem.Journal }

func (r routes) Put(key []byte, s hwabstraction.Stamp, payload []byte) error {
	return r.j.Put(key, s, payload)
}

func (r routes) Delete(key []byte) error {
	r.j.Delete(key)
	return nil
}

func (r routes) Range(f func(key []byte, s hwabstraction.Stamp, payload []byte) bool) {
	r.j.Range(func(key []byte, rec nicmem.Record) bool { return f(key, rec.Stamp, rec.Payload) })
}

// noFlows stands for a conntrack that cannot be read.
type noFlows struct{}

func (noFlows) Flows(context.Context, []netip.Addr) ([]hwabstraction.Flow, error) {
	return nil, fmt.Errorf("detect: flows: %w", hwabstraction.ErrNotSupported)
}
