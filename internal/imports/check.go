package imports

import (
	"fmt"
	"slices"
	"strings"
)

// below tells whether a path is another or lies below it.
func below(path, root string) bool {
	return root == "" || path == root || strings.HasPrefix(path, root+"/")
}

// roomOf is the deepest room that a package lies in; nil where none is named.
func roomOf(pkg string) *room {
	var best *room
	for i := range rooms {
		if below(pkg, rooms[i].path) && (best == nil || len(rooms[i].path) > len(best.path)) {
			best = &rooms[i]
		}
	}
	return best
}

// refuse tells why a package (a path below the module) may not import another
// (a full import path); "" where it may. forTest says that a test file does.
func refuse(pkg, imported string, forTest bool) string {
	r := roomOf(pkg)
	if r == nil {
		return fmt.Sprintf("%s lies in no room: name it in the table and say whom it may know", pkg)
	}
	for path, why := range banned {
		if below(imported, path) && !(path == "math/rand" && imported == "math/rand/v2") && !inAny(pkg, exempt[path]) {
			return why
		}
	}
	for library, rooms := range home {
		if !forTest && below(imported, library) && !inAny(pkg, rooms) {
			return fmt.Sprintf("%s is used by %s only, so that it can be replaced", library, strings.Join(rooms, ", "))
		}
	}
	own, ours := strings.CutPrefix(imported, module+"/")
	switch {
	case !ours && r.bare && !forTest && strings.Contains(strings.SplitN(imported, "/", 2)[0], "."):
		return "this room has the standard library and our own words only: " + r.why
	case !ours, r.allows(pkg, own), forTest && inAny(own, forTests):
		return ""
	}
	for path, why := range r.bans {
		if below(own, path) {
			return why
		}
	}
	return r.why
}

// allows tells whether the room's table names one of our packages.
func (r *room) allows(pkg, own string) bool {
	if roomOf(own) == r {
		return true
	}
	for _, m := range r.may {
		exact, only := strings.CutPrefix(m, "=")
		if only && own == exact || !only && below(own, m) {
			return true
		}
	}
	// A room within a room: the outer may use what lies inside it.
	return below(own, r.path) && r.path != "mobility" && r.path != "hwabstraction" && r.path != "cmd"
}

func inAny(pkg string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return below(pkg, r) })
}

// impure are what a pure core may not have, by import or by name.
var impure = map[string]string{
	"net": "a socket", "os": "the outside world", "log": "a log", "log/slog": "a log", "syscall": "the outside world",
	"net/http": "a socket", "os/exec": "the outside world", "sync/atomic": "goroutines",
}

// harmless are the names of impure packages that are mere values.
var harmless = map[string][]string{"net": {"HardwareAddr", "ParseMAC"}}

// clocks are the functions of package time that a pure core may not call.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
