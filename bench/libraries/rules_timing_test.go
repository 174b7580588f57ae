package libraries

import (
	"testing"

	"github.com/expr-lang/expr"
	"github.com/google/cel-go/cel"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/rules"
)

const (
	// threshold is a rule of three terms in the words that all three languages share. Its last term is false,
	// so that all of it is looked at and nothing fires.
	threshold = `temperature > 95.0 && rpm > 500.0 && vibration > 3.5`
	// motor is a point with ten fields that it is asked of.
	motor = "motor,line=a,machine=m17 rpm=1500,vibration=0.25,current=12.5,voltage=400,torque=88.5," +
		"temperature=96.5,humidity=40,pressure=1.5,load=0.75,state=t 1700000000000000000\n"
)

// BenchmarkThreshold asks one rule of one point. Culvert begins with the point as its decoder leaves it and
// finds the fields and the rule; the libraries are given variables that somebody has filled before, which
// favours them.
func BenchmarkThreshold(b *testing.B) {
	b.Run("culvert", func(b *testing.B) {
		set, mistakes := rules.Compile([]rules.Group{{
			Name: rules.Text{Source: "g"},
			Rules: []rules.Rule{{
				Alert: rules.Text{Source: "Overload"}, On: []rules.Text{{Source: "motor"}},
				Expr: rules.Text{Source: threshold}, By: []rules.Text{{Source: "machine"}}, HasBy: true,
			}},
		}})
		if len(mistakes) > 0 {
			b.Fatal(mistakes[0])
		}
		evaluator := rules.NewEvaluator(set, rules.Config{Workers: 1, Owners: 1, KeysMax: 1000})
		var d lineproto.Decoder
		var p point.Point
		d.Start([]byte(motor), lineproto.Nanosecond, &p)
		if outcome := d.Next(&p); outcome != lineproto.OK {
			b.Fatal(d.Reason())
		}
		b.ReportAllocs()
		arrival := int64(0)
		for b.Loop() {
			arrival++
			evaluator.Eval(&p, arrival)
		}
		if len(evaluator.Transitions()) != 0 {
			b.Fatal("the rule fires")
		}
	})
	b.Run("expr", func(b *testing.B) {
		type variables struct {
			Temperature float64 `expr:"temperature"`
			RPM         float64 `expr:"rpm"`
			Vibration   float64 `expr:"vibration"`
		}
		program, err := expr.Compile(threshold, expr.Env(variables{}), expr.AsBool())
		if err != nil {
			b.Fatal(err)
		}
		in := variables{96.5, 1500, 0.25}
		b.ReportAllocs()
		for b.Loop() {
			if fires, err := expr.Run(program, in); err != nil || fires != false {
				b.Fatal(fires, err)
			}
		}
	})
	b.Run("cel", func(b *testing.B) {
		environment, err := cel.NewEnv(cel.Variable("temperature", cel.DoubleType),
			cel.Variable("rpm", cel.DoubleType), cel.Variable("vibration", cel.DoubleType))
		if err != nil {
			b.Fatal(err)
		}
		tree, issues := environment.Compile(threshold)
		if issues.Err() != nil {
			b.Fatal(issues.Err())
		}
		program, err := environment.Program(tree, cel.EvalOptions(cel.OptOptimize))
		if err != nil {
			b.Fatal(err)
		}
		in := map[string]any{"temperature": 96.5, "rpm": 1500.0, "vibration": 0.25}
		b.ReportAllocs()
		for b.Loop() {
			if fires, _, err := program.Eval(in); err != nil || fires.Value() != false {
				b.Fatal(fires, err)
			}
		}
	})
}
