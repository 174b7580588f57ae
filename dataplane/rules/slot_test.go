package rules

import (
	"fmt"
	"testing"

	"culvert/dataplane/point"
)

// Goal: a rule for a name that a point lacks looks at none of the point's names, and one for a name that it
// has is not misled, whatever the names. Method: a point of three fields and two tags, and names of which
// some share a bit with one of them.
func TestNamesThatPointsLack(t *testing.T) {
	names := map[string]bool{"alpha": true, "beta": true, "c": true}
	line := "m,unit=u1,place=p1 alpha=1,beta=1,c=1 1"
	spared := 0
	for i := range 300 {
		names[fmt.Sprintf("%c%dx", 'a'+rune(i%26), i*i)] = names[fmt.Sprintf("%c%dx", 'a'+rune(i%26), i*i)]
	}
	for name, there := range names {
		e := alone(compileOf(t, ruleOf("A", "m", name+" == 1", "unit")))
		p := pointOf(t, line)
		e.Eval(p, 1)
		if fires := e.records.used == 1; fires != there {
			t.Errorf("%s: fires is %t, want %t", name, fires, there)
		}
		matched := e.machine.matched == e.machine.mark
		if p.LacksFields&point.NameBit([]byte(name)) != 0 {
			spared++
			if matched {
				t.Errorf("%s: the point's names were looked at", name)
			}
		} else if !matched && !there {
			t.Errorf("%s is said to be missing without a look, and shares a bit", name)
		}
		tag := alone(compileOf(t, ruleOf("A", "m", "has(tags."+name+") || has(tags.place)", "unit")))
		tag.Eval(pointOf(t, line), 1)
		if tag.records.used != 1 {
			t.Errorf("tags.%s: the other tag is not found", name)
		}
	}
	if spared < 200 {
		t.Errorf("%d of %d names were spared a look", spared, len(names))
	}
}
