package report

import (
	"fmt"
	"image/color"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Plot is one picture.
type Plot struct {
	Name         string // of its file
	Title, X, Y  string
	LogX, LogY   bool
	Curves       []Curve
	GoalX, GoalY float64 // (optional) lines at goals
	Shares       bool    // Y is a share, from 0 to 1
	// Bars (optional) are drawn instead of curves, the first on top.
	Bars []Bar
}

// Bar is a value with a name.
type Bar struct {
	Name  string
	Value float64
}

// Curve is points joined by a line.
type Curve struct {
	Name   string
	Points [][2]float64
	// Steps leaves the points unmarked: for distributions, which have too many.
	Steps bool
}

const (
	plotWidth  = 18 * vg.Centimeter
	plotHeight = 11 * vg.Centimeter
	plotMargin = 0.35 * vg.Centimeter
	barWidth   = 0.3 * vg.Centimeter
)

// palette are colours that people with any kind of colour vision can tell apart (Okabe and Ito).
var palette = [...]color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff},
	{0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff}, {0x00, 0x00, 0x00, 0xff},
}

// save draws the picture into a file.
func (p *Plot) save(file string) error {
	picture := plot.New()
	picture.Title.Text, picture.X.Label.Text, picture.Y.Label.Text = p.Title, p.X, p.Y
	picture.BackgroundColor = color.White
	picture.Title.TextStyle.Font.Size = vg.Points(13)
	picture.Title.Padding = vg.Points(8)
	for _, axis := range []*plot.Axis{&picture.X, &picture.Y} {
		axis.Label.TextStyle.Font.Size = vg.Points(11)
		axis.Tick.Label.Font.Size = vg.Points(10)
		axis.Padding = vg.Points(4)
	}
	picture.X.Tick.Marker, picture.Y.Tick.Marker = plainTicks{}, plainTicks{}
	if len(p.Bars) > 0 {
		if err := p.addBars(picture); err != nil {
			return fmt.Errorf("draw %q: %w", p.Name, err)
		}
		return drawing(picture, p.Name, file)
	}
	if values := p.places(); !p.LogX && len(values) <= placesMost {
		picture.X.Tick.Marker = values
	}
	if p.LogX {
		picture.X.Scale, picture.X.Tick.Marker = plot.LogScale{}, decadeTicks{}
	}
	if p.LogY {
		picture.Y.Scale, picture.Y.Tick.Marker = plot.LogScale{}, decadeTicks{}
	} else {
		picture.Y.Min = 0
	}
	picture.Add(plotter.NewGrid())
	for i, curve := range p.Curves {
		if err := addCurve(picture, curve, i); err != nil {
			return fmt.Errorf("draw %q: %w", p.Name, err)
		}
	}
	p.addGoals(picture)
	p.placeLegend(picture)
	return drawing(picture, p.Name, file)
}

// legendRow is the part of the picture's height that a row of the legend takes, somewhat more than less.
const legendRow = 0.06

// placeLegend puts the legend to the left, where its texts may be as long as the reader's fonts make them:
// above the curves, which begin low where they are distributions, or below those that begin high.
func (p *Plot) placeLegend(picture *plot.Plot) {
	legend := &picture.Legend
	legend.Left, legend.Top = true, !p.LogY
	legend.TextStyle.Font.Size = vg.Points(10)
	legend.Padding = vg.Points(3)
	// Not on the frame.
	legend.XOffs, legend.YOffs = vg.Points(8), vg.Points(-4)
	switch {
	case p.LogY:
		legend.YOffs = vg.Points(8)
	case p.Shares:
		picture.Y.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: 0.25, Label: "0.25"},
			{Value: 0.5, Label: "0.5"}, {Value: 0.75, Label: "0.75"}, {Value: 1, Label: "1"}}
		picture.Y.Max = 1 + legendRow*float64(len(p.Curves)+2)
	default:
		picture.Y.Max *= 1.25
	}
}

// drawing writes a picture into a file, with a margin in which the last labels of the axes end.
func drawing(picture *plot.Plot, name, file string) (err error) {
	canvas := vgsvg.New(plotWidth, plotHeight)
	picture.Draw(draw.Crop(draw.New(canvas), plotMargin, -2*plotMargin, plotMargin, -plotMargin))
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("draw %q: %w", name, err)
	}
	defer func() {
		if closed := out.Close(); err == nil && closed != nil {
			err = fmt.Errorf("draw %q: %w", name, closed)
		}
	}()
	if _, err := canvas.WriteTo(out); err != nil {
		return fmt.Errorf("draw %q: %w", name, err)
	}
	return nil
}

// addBars draws the bars, each with its name and value above it, where the name may be as long as it is.
func (p *Plot) addBars(picture *plot.Plot) error {
	values := make(plotter.Values, len(p.Bars))
	labels := plotter.XYLabels{}
	for i, bar := range p.Bars {
		at := len(p.Bars) - 1 - i
		values[at] = bar.Value
		labels.XYs = append(labels.XYs, plotter.XY{X: 0, Y: float64(at) + nameAbove})
		labels.Labels = append(labels.Labels, fmt.Sprintf(" %s: %s", bar.Name, tickText(bar.Value)))
	}
	bars, err := plotter.NewBarChart(values, barWidth)
	if err != nil {
		return err
	}
	bars.Horizontal, bars.Color, bars.LineStyle.Width = true, palette[0], 0
	texts, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	for i := range texts.TextStyle {
		texts.TextStyle[i].Font.Size = vg.Points(10)
	}
	picture.Add(bars, texts)
	picture.HideY()
	picture.X.Min, picture.Y.Max = 0, float64(len(p.Bars))
	return nil
}

// nameAbove is where a bar's name stands, in bars.
const nameAbove = 0.28

func addCurve(picture *plot.Plot, curve Curve, i int) error {
	points := make(plotter.XYs, 0, len(curve.Points))
	for _, point := range curve.Points {
		points = append(points, plotter.XY{X: point[0], Y: point[1]})
	}
	line, marks, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = palette[i%len(palette)], vg.Points(1.8)
	marks.Color, marks.Radius, marks.Shape = line.Color, vg.Points(3), draw.CircleGlyph{}
	if curve.Steps {
		picture.Add(line)
		picture.Legend.Add(curve.Name, line)
		return nil
	}
	picture.Add(line, marks)
	picture.Legend.Add(curve.Name, line, marks)
	return nil
}

// addGoals draws dashed lines at the goals, over the whole width or height.
func (p *Plot) addGoals(picture *plot.Plot) {
	add := func(ends plotter.XYs) {
		line, err := plotter.NewLine(ends)
		if err != nil {
			return // Both ends are finite.
		}
		line.Color, line.Width = color.Gray{0x60}, vg.Points(1)
		line.Dashes = []vg.Length{vg.Points(5), vg.Points(4)}
		picture.Add(line)
		picture.Legend.Add("goal", line)
	}
	if p.GoalY > 0 {
		picture.Y.Max = math.Max(picture.Y.Max, p.GoalY)
		add(plotter.XYs{{X: picture.X.Min, Y: p.GoalY}, {X: picture.X.Max, Y: p.GoalY}})
	}
	if p.GoalX > 0 {
		picture.X.Max = math.Max(picture.X.Max, p.GoalX)
		add(plotter.XYs{{X: p.GoalX, Y: picture.Y.Min}, {X: p.GoalX, Y: picture.Y.Max}})
	}
}

// placesMost is how many places a horizontal axis shows by their own values.
const placesMost = 8

// places are the values of the first curve on the horizontal axis.
func (p *Plot) places() plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, curve := range p.Curves[:min(len(p.Curves), 1)] {
		for _, point := range curve.Points {
			ticks = append(ticks, plot.Tick{Value: point[0], Label: tickText(point[0])})
		}
	}
	return ticks
}

// plainTicks are the usual places with numbers as people write them.
type plainTicks struct{}

// Ticks are the places between two values.
func (plainTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = tickText(ticks[i].Value)
		}
	}
	return ticks
}

// decadeTicks are powers of ten, with 2 and 5 between them where there are few, and unmarked lines between.
type decadeTicks struct{}

// Ticks are the places between two values.
func (decadeTicks) Ticks(low, high float64) []plot.Tick {
	if low <= 0 {
		low = math.SmallestNonzeroFloat64
	}
	few := math.Log10(high/low) < 2.5
	var ticks []plot.Tick
	for decade := math.Pow(10, math.Floor(math.Log10(low))); decade <= high*1.0001; decade *= 10 {
		for digit := 1.0; digit < 10; digit++ {
			value := decade * digit
			if value < low*0.9999 || value > high*1.0001 {
				continue
			}
			tick := plot.Tick{Value: value}
			if digit == 1 || few && (digit == 2 || digit == 5) {
				tick.Label = tickText(value)
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}

// tickText is a number short enough for an axis.
func tickText(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 0.9999e6:
		return fmt.Sprintf("%.4g M", v/1e6)
	case a >= 0.9999e3:
		return fmt.Sprintf("%.4g k", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
