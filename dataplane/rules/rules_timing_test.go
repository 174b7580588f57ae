package rules

import (
	"fmt"
	"testing"

	"culvert/dataplane/point"
)

// BenchmarkThreshold is a rule of three terms on points with ten fields.
func BenchmarkThreshold(b *testing.B) {
	const line = "motor,line=a,machine=m17 rpm=1500i,vibration=0.25,current=12.5,voltage=400,torque=88.5," +
		"temperature=96.5,humidity=40,pressure=1.5,load=0.75,state=t 1700000000000000000"
	rule := ruleOf("Overload", "motor", `temperature > 95.0 && rpm > 500 && vibration > 3.5`, "machine")
	firing := ruleOf("Overload", "motor", `temperature > 95.0 && rpm > 500 && vibration > 0.1`, "machine")
	byTag := ruleOf("Overload", "motor", `temperature > 95.0 && rpm > 500 && tags.line == "b"`, "machine")
	f := func(name string, rule Rule, config Config, want bool) {
		b.Run(name, func(b *testing.B) {
			e := NewEvaluator(compileOf(b, rule), config)
			p := pointOf(b, line)
			b.ReportAllocs()
			arrival := int64(0)
			for b.Loop() {
				arrival++
				e.Eval(p, arrival)
			}
			if got := e.records.used == 1; got != want {
				b.Fatalf("firing is %t, want %t", got, want)
			}
		})
	}
	f("one_worker", rule, Config{Workers: 1, Owners: 1}, false)
	f("one_worker_firing", firing, Config{Workers: 1, Owners: 1}, true)
	f("of_three_workers", rule, Config{Workers: 3, Owners: 1}, false)
	f("of_three_workers_firing", firing, Config{Workers: 3, Owners: 1}, true)

	f("one_worker_by_tag", byTag, Config{Workers: 1, Owners: 1}, false)
	b.Run("program", func(b *testing.B) {
		e := alone(compileOf(b, rule))
		p := pointOf(b, line)
		e.Eval(p, 1)
		code := e.set.rules[0].code
		holds := 0
		for b.Loop() {
			if e.machine.run(code) {
				holds++
			}
		}
		if holds != 0 {
			b.Fatal("the rule holds")
		}
	})
	absent := ruleOf("Overload", "motor", "pressure_bar > 10 && temperature > 95", "machine")
	f("one_worker_absent", absent, Config{Workers: 1, Owners: 1}, false)
	series := rule
	series.By, series.HasBy = nil, false
	f("of_three_workers_by_series", series, Config{Workers: 3, Owners: 1}, false)
}

// BenchmarkThousandTagRules is a thousand rules on one measurement, each for one machine.
func BenchmarkThousandTagRules(b *testing.B) {
	var rules []Rule
	for i := range 1000 {
		expr := fmt.Sprintf(`tags.machine == "m%d" && temperature > %d`, i, 95+i%10)
		rules = append(rules, ruleOf(fmt.Sprintf("Overload%d", i), "motor", expr, "machine"))
	}
	var points []*point.Point
	for i := range 1024 {
		points = append(points, pointOf(b, fmt.Sprintf("motor,line=a,machine=m%d temperature=90,rpm=7i", i)))
	}
	for _, workers := range []int{1, 3} {
		b.Run(fmt.Sprintf("workers_%d", workers), func(b *testing.B) {
			e := NewEvaluator(compileOf(b, rules...), Config{Workers: workers, Owners: 1})
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				e.Eval(points[i&1023], int64(i))
				i++
			}
			if e.records.used != 0 {
				b.Fatal("a rule fires")
			}
		})
	}
}

// BenchmarkTenRules is eight rules found by a tag and two thresholds, over 512 machines and three workers.
func BenchmarkTenRules(b *testing.B) {
	rules := []Rule{
		ruleOf("Hot", "motor", "temperature > 95", "machine"),
		ruleOf("Shaking", "motor", "vibration > 3.5 && rpm > 500", "machine"),
	}
	for i := range 8 {
		expr := fmt.Sprintf(`tags.machine == "m%d" && temperature > 90`, i)
		rules = append(rules, ruleOf(fmt.Sprintf("Machine%d", i), "motor", expr, "machine"))
	}
	var points []*point.Point
	for i := range 512 {
		line := fmt.Sprintf("motor,line=a,machine=m%d temperature=80.5,vibration=0.5,rpm=1500i 1700", i)
		points = append(points, pointOf(b, line))
	}
	e := NewEvaluator(compileOf(b, rules...), Config{Workers: 3, Owners: 2})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e.Eval(points[i&511], int64(i))
		i++
	}
	if e.records.used != 0 {
		b.Fatal("a rule fires")
	}
}

// BenchmarkTransition is a key that starts and stops firing with every point, taken and rendered by nobody.
func BenchmarkTransition(b *testing.B) {
	e := alone(compileOf(b, ruleOf("Hot", "motor", "temperature > 95", "machine")))
	points := []*point.Point{
		pointOf(b, "motor,machine=a temperature=96"), pointOf(b, "motor,machine=a temperature=94"),
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e.Eval(points[i&1], int64(i))
		e.Taken(len(e.Transitions()))
		i++
	}
	if e.stats[0].Transitions != uint64(i) {
		b.Fatalf("%d transitions for %d points", e.stats[0].Transitions, i)
	}
}

// BenchmarkWindow is a function of the past for each of many machines, whose points come in an order that no
// cache foresees. The point is one, with the machine's number written into it, as a decoder's is.
func BenchmarkWindow(b *testing.B) {
	for _, expr := range []string{
		"avg(x[10s]) > 1000", "stddev(x[10s:1s]) > 1000", "max(x[10s]) > 1000", "rate(x[10s]) > 1000",
		"quantile(0.99, x[10s:5s]) > 1000", "ewma(x, 10s) > 1000", "delta(x) > 1000",
	} {
		for _, keys := range []int{1000, 100_000} {
			b.Run(fmt.Sprintf("%s/keys_%d", expr, keys), func(b *testing.B) { benchmarkPast(b, expr, keys) })
		}
	}
}

func benchmarkPast(b *testing.B, expr string, keys int) {
	e := NewEvaluator(compileOf(b, ruleOf("A", "motor", expr, "machine")), Config{Workers: 1})
	p := pointOf(b, "motor,line=a,machine=m000000 x=0,rpm=7i 1")
	tag, _ := p.Tag("machine")
	name := p.Bytes(tag)
	// Every key has a point twice a second; the order of keys is that of a multiplication by a prime.
	at, step, key := int64(1e18), int64(5e8)/int64(keys), 0
	turn := func() {
		if key += 7919; key >= keys {
			key -= key / keys * keys
		}
		for i, n := len(name)-1, key; i > 0; i, n = i-1, n/10 {
			name[i] = '0' + byte(n%10)
		}
		p.Fields[0].Known, p.Fields[0].Bits = true, floatValue(float64(key%900)).bits
		at += step
		p.Time = at
		e.Eval(p, at)
	}
	for range 3 * keys {
		turn()
	}
	b.ReportAllocs()
	for b.Loop() {
		turn()
	}
	if e.pasts[0].list.length != keys || e.records.used != 0 {
		b.Fatalf("%d keys are remembered, %d fire", e.pasts[0].list.length, e.records.used)
	}
}

// BenchmarkNoPast is what the points of BenchmarkWindow cost without a rule that looks at the past.
func BenchmarkNoPast(b *testing.B) { benchmarkNoPast(b, 100_000) }

func benchmarkNoPast(b *testing.B, keys int) {
	e := NewEvaluator(compileOf(b, ruleOf("A", "motor", "x > 1000", "machine")), Config{Workers: 1})
	p := pointOf(b, "motor,line=a,machine=m000000 x=0,rpm=7i 1")
	tag, _ := p.Tag("machine")
	name := p.Bytes(tag)
	key := 0
	for b.Loop() {
		if key += 7919; key >= keys {
			key -= key / keys * keys
		}
		for i, n := len(name)-1, key; i > 0; i, n = i-1, n/10 {
			name[i] = '0' + byte(n%10)
		}
		p.Fields[0].Known, p.Fields[0].Bits = true, floatValue(float64(key%900)).bits
		e.Eval(p, 1)
	}
}
