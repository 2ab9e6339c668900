package nicmem

import (
	"fmt"
	"strings"
)

// AreaSpec asks for an area of a region.
type AreaSpec struct {
	Name string // 1 to MaxAreaName bytes, no NUL, unique in the region
	// Size in bytes, rounded up to whole pages of 4096. One area may have size
	// 0: it gets what the others leave.
	Size int64
}

// Config says which region to open, and how to make it where there is none.
type Config struct {
	// Path of the file, on a tmpfs or hugetlbfs; its folder must exist.
	Path string
	// Size of the whole region in bytes, header (4096 bytes) included. It is
	// rounded up to whole pages of the file system (2 MiB on most hugetlbfs).
	Size  int64
	Areas []AreaSpec

	// BootID identifies the running boot; the zero value reads the kernel's.
	BootID [16]byte
}

// layout places the areas in a region of size bytes.
func (c Config) layout(size int64) ([]extent, error) {
	if len(c.Areas) == 0 || len(c.Areas) > MaxAreas {
		return nil, fmt.Errorf("%d areas, want 1 to %d", len(c.Areas), MaxAreas)
	}
	seen := map[string]bool{}
	rest, left := -1, size-headerSize
	for i, a := range c.Areas {
		switch {
		case a.Name == "" || len(a.Name) > MaxAreaName || strings.ContainsRune(a.Name, 0):
			return nil, fmt.Errorf("area name %q: want 1 to %d bytes and no NUL", a.Name, MaxAreaName)
		case seen[a.Name]:
			return nil, fmt.Errorf("area %q is named twice", a.Name)
		case a.Size < 0 || a.Size > size:
			return nil, fmt.Errorf("area %q: %d bytes in a region of %d", a.Name, a.Size, size)
		case a.Size == 0 && rest >= 0:
			return nil, fmt.Errorf("areas %q and %q both want the rest (size 0)", c.Areas[rest].Name, a.Name)
		case a.Size == 0:
			rest = i
		}
		seen[a.Name] = true
		left -= roundUp(a.Size, areaAlign)
	}
	if left < 0 || rest >= 0 && left < areaAlign {
		return nil, fmt.Errorf("areas do not fit into %d bytes: %d missing", size, max(-left, areaAlign-left))
	}
	extents, at := make([]extent, 0, len(c.Areas)), int64(headerSize)
	for i, a := range c.Areas {
		n := roundUp(a.Size, areaAlign)
		if i == rest {
			n = left / areaAlign * areaAlign
		}
		extents = append(extents, extent{name: a.Name, offset: at, size: n})
		at += n
	}
	return extents, nil
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
