package detect

import (
	"fmt"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/nicmem"
)

// RegionConfig describes the region and who gets what of it.
type RegionConfig struct {
	Path  string // "" = no region
	Size  int64  // bytes
	Areas []Area
	// Journal names the area in which the backend keeps the stamps of kernel
	// routes; "" = beside the rules.
	Journal string
}

// Area is a named part of the region; one may have size 0, the rest.
type Area struct {
	Name string
	Size int64
}

// JournalSize is the size that an area for the backend's journal of n kernel
// routes needs, in bytes.
func JournalSize(n int) int64 {
	const most = nicmem.MaxJournalKey + nicmem.MaxJournalPayload
	return nicmem.JournalSize(n, most)
}

// Memory is the region, open. What is in its areas may be read while the device
// is opened.
type Memory struct{ region *nicmem.Region }

// OpenRegion opens the region of c, whose path is mandatory. The caller closes
// it. Errors are those of nicmem.Open.
func OpenRegion(c RegionConfig) (*Memory, error) {
	areas := make([]nicmem.AreaSpec, len(c.Areas))
	for i, a := range c.Areas {
		areas[i] = nicmem.AreaSpec{Name: a.Name, Size: a.Size}
	}
	region, err := nicmem.Open(nicmem.Config{Path: c.Path, Size: c.Size, Areas: areas})
	if err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	return &Memory{region}, nil
}

// Area returns a named area of the region; its Close does nothing.
func (m *Memory) Area(name string) (hwabstraction.Region, error) {
	a, err := m.region.Area(name)
	if err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	return a, nil
}

// Close lets go of the region. Nobody may use its areas any more.
func (m *Memory) Close() error { return m.region.Close() }
