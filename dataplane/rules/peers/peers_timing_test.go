package peers

import (
	"strconv"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
	"github.com/google/cel-go/cel"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/rules"
)

// condition is one condition in the three languages.
type condition struct{ name, culvert, expr, cel string }

var conditions = []condition{
	{
		"three_terms", `temperature > 95.0 && rpm > 500 && vibration > 3.5`,
		`temperature > 95.0 && rpm > 500 && vibration > 3.5`,
		`temperature > 95.0 && rpm > 500 && vibration > 3.5`,
	},
	{
		"tag_and_arithmetic", `tags.line == "a" && abs(temperature - setpoint) / setpoint > 0.6`,
		`tags.line == "a" && abs(temperature - setpoint) / setpoint > 0.6`,
		`tags.line == "a" && (temperature > setpoint ? temperature - setpoint : setpoint - temperature)` +
			` / setpoint > 0.6`,
	},
}

// lines are the points: one in eight makes the first condition true.
func lines() []string {
	var all []string
	for i := range 64 {
		all = append(all, "motor,line="+string(rune('a'+i%2))+",machine=m"+strconv.Itoa(i)+" rpm="+
			strconv.Itoa(400+i*10)+"i,vibration="+strconv.Itoa(i%8)+".25,temperature="+strconv.Itoa(90+i%12)+
			".5,setpoint=60,load=0.75 1700000000000000000")
	}
	return all
}

// decode decodes one line.
func decode(b *testing.B, line string) *point.Point {
	p := &point.Point{ScratchBytes: make([]byte, 0, 256)}
	var d lineproto.Decoder
	d.Start([]byte(line), lineproto.Nanosecond, p)
	if d.Next(p) != lineproto.OK {
		b.Fatalf("%q is no point", line)
	}
	return p
}

// environment is a point as the other engines see it.
func environment(p *point.Point) map[string]any {
	env := map[string]any{"tags": map[string]string{}}
	fill(env, p)
	return env
}

// fill puts a point into an environment that has held another of the same names.
func fill(env map[string]any, p *point.Point) {
	tags := env["tags"].(map[string]string)
	for _, t := range p.Tags {
		tags[string(p.Bytes(t.Name))] = string(p.Bytes(t.Value))
	}
	for i := range p.Fields {
		f := &p.Fields[i]
		text := string(p.Bytes(f.Value))
		if f.Kind == point.Int {
			v, _ := strconv.ParseInt(text[:len(text)-1], 10, 64)
			env[string(p.Bytes(f.Name))] = v
			continue
		}
		v, _ := strconv.ParseFloat(text, 64)
		env[string(p.Bytes(f.Name))] = v
	}
}

// BenchmarkPeers evaluates each condition on the same points by each engine; all must say the same. Culvert's
// figure is for the whole way from a decoded point: finding the rule and the names, the condition, the
// key and its state. The others need the point as a map; "prepared" leaves out what filling that map
// costs.
func BenchmarkPeers(b *testing.B) {
	var points []*point.Point
	var environments []map[string]any
	for _, line := range lines() {
		points = append(points, decode(b, line))
		environments = append(environments, environment(points[len(points)-1]))
	}
	for _, c := range conditions {
		want := 0
		program := compileExpr(b, c.expr, environments[0])
		for _, env := range environments {
			if out, err := vm.Run(program, env); err != nil {
				b.Fatal(err)
			} else if out == true {
				want++
			}
		}
		b.Run(c.name+"/culvert", func(b *testing.B) { runCulvert(b, c.culvert, points, want) })
		machine := vm.VM{}
		runPeer(b, c.name+"/expr", points, environments, want, func(env map[string]any) (any, error) {
			return machine.Run(program, env)
		})
		cel := compileCEL(b, c.cel)
		runPeer(b, c.name+"/cel", points, environments, want, func(env map[string]any) (any, error) {
			out, _, err := cel.Eval(env)
			return out.Value(), err
		})
	}
}

// runPeer measures another engine, with the points as maps beforehand and from the points.
func runPeer(b *testing.B, name string, points []*point.Point, environments []map[string]any, want int,
	eval func(env map[string]any) (any, error)) {
	run := func(b *testing.B, environment func(i int) map[string]any) {
		i, held := 0, 0
		b.ReportAllocs()
		for b.Loop() {
			out, err := eval(environment(i & 63))
			if err != nil {
				b.Fatal(err)
			}
			if i++; out == true {
				held++
			}
		}
		check(b, held, i, want)
	}
	b.Run(name+"_prepared", func(b *testing.B) {
		run(b, func(i int) map[string]any { return environments[i] })
	})
	b.Run(name, func(b *testing.B) {
		env := environment(points[0])
		run(b, func(i int) map[string]any {
			fill(env, points[i])
			return env
		})
	})
}

// check compares how often a condition held with how often it does in 64 points.
func check(b *testing.B, held, points, want int) {
	if points%64 == 0 && held != points/64*want || want == 0 {
		b.Fatalf("the condition held %d times in %d points, want %d in 64", held, points, want)
	}
}

func runCulvert(b *testing.B, condition string, points []*point.Point, want int) {
	text := func(s string) rules.Text { return rules.Text{Source: s} }
	set, wrong := rules.Compile([]rules.Group{{Name: text("g"), Rules: []rules.Rule{{
		Alert: text("A"), On: []rules.Text{text("motor")}, Expr: text(condition),
		By: []rules.Text{text("machine")}, HasBy: true,
	}}}})
	if len(wrong) > 0 {
		b.Fatal(wrong[0])
	}
	e := rules.NewEvaluator(set, rules.Config{Workers: 1})
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		e.Eval(points[i&63], int64(i))
		i++
	}
	var stats [1]rules.RuleStats
	if e.Stats(stats[:]); i >= 64 && stats[0].Firing != want {
		b.Fatalf("%d keys are firing, want %d", stats[0].Firing, want)
	}
}

func compileExpr(b *testing.B, condition string, env map[string]any) *vm.Program {
	program, err := expr.Compile(condition, expr.Env(env), expr.AsBool())
	if err != nil {
		b.Fatal(err)
	}
	return program
}

func compileCEL(b *testing.B, condition string) cel.Program {
	env, err := cel.NewEnv(cel.Variable("temperature", cel.DoubleType), cel.Variable("setpoint",
		cel.DoubleType),
		cel.Variable("rpm", cel.IntType), cel.Variable("vibration", cel.DoubleType),
		cel.Variable("tags", cel.MapType(cel.StringType, cel.StringType)))
	if err != nil {
		b.Fatal(err)
	}
	ast, issues := env.Compile(condition)
	if issues.Err() != nil {
		b.Fatal(issues.Err())
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		b.Fatal(err)
	}
	return program
}
