package scenario

// sabotage spoils one thing in a run that must then fail: a harness that does
// not see it proves nothing. All of it is done by the lab, from outside; the
// programs have no such switches.
type sabotage struct {
	name string
	what string
}

var sabotages = []sabotage{}

func sabotageNames() []string {
	var out []string
	for _, s := range sabotages {
		out = append(out, s.name)
	}
	return out
}

// List names every scenario and sabotage, a line each.
func List() []string {
	out := []string{"hot-move: a VM moves A -> B -> C -> A under traffic"}
	for _, s := range sabotages {
		out = append(out, "hot-move --sabotage "+s.name+": "+s.what)
	}
	return out
}
