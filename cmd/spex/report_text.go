package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spexio/spex/lts/explain"
)

// A long run is shown to people with so many steps of its beginning and its end; JSON has all.
const (
	firstRunSteps = 16
	lastRunSteps  = 4
)

// maxShownMissing bounds the transitions that a report for people lists; JSON has all.
const maxShownMissing = 20

// drawing says how a report is to be drawn.
type drawing struct {
	width   int
	formula string
	// indent goes before every line.
	indent string
}

// writeReport writes a report in the form that the flags ask for.
func (a *app) writeReport(flags *reportFlags, doc any, draw func(io.Writer, painter, drawing)) error {
	switch flags.reportFormat(a) {
	case formatJSON:
		return writeJSON(a.stdout, doc)
	case formatMarkdown:
		var text strings.Builder
		draw(&text, painter{markdown: true}, drawing{formula: flags.formula.value})
		_, err := io.WriteString(a.stdout, text.String())
		return err
	}
	var text strings.Builder
	draw(&text, a.stdoutPainter(), drawing{width: a.width(), formula: flags.formula.value})
	_, err := io.WriteString(a.stdout, text.String())
	return err
}

// reportWriter writes the parts of a report as text or Markdown.
type reportWriter struct {
	w io.Writer
	p painter
	d drawing
}

// heading begins a part.
func (r *reportWriter) heading(text string) {
	if r.p.markdown {
		fmt.Fprintf(r.w, "\n**%s**\n\n", text)
		return
	}
	fmt.Fprintf(r.w, "\n%s%s\n", r.d.indent, r.p.paint(styleHeader, text))
}

// item writes one thing of a list.
func (r *reportWriter) item(text string) {
	if r.p.markdown {
		fmt.Fprintf(r.w, "- %s\n", text)
		return
	}
	fmt.Fprintln(r.w, fold(text, r.d.indent+"  ", "  ", r.d.width))
}

// paragraph writes a sentence that belongs to no list.
func (r *reportWriter) paragraph(s style, text string) {
	if r.p.markdown {
		fmt.Fprintf(r.w, "%s\n", text)
		return
	}
	for _, line := range strings.Split(fold(text, r.d.indent, "", r.d.width), "\n") {
		fmt.Fprintln(r.w, r.p.paint(s, line))
	}
}

// code writes text that must stay as it is.
func (r *reportWriter) code(text string) {
	text = strings.TrimRight(text, "\n")
	if r.p.markdown {
		fmt.Fprintf(r.w, "```\n%s\n```\n", text)
		return
	}
	for _, line := range strings.Split(text, "\n") {
		fmt.Fprintf(r.w, "%s  %s\n", r.d.indent, line)
	}
}

// name shows a name of an action, a state or a code.
func (r *reportWriter) name(text string) string {
	if !r.p.markdown {
		return text
	}
	ticks := "`"
	for strings.Contains(text, ticks) {
		ticks += "`"
	}
	if len(ticks) > 1 {
		return ticks + " " + text + " " + ticks
	}
	return ticks + text + ticks
}

// drawReport draws how two systems compare.
func drawReport(w io.Writer, p painter, d drawing, doc *reportJSON, o explain.Options) {
	r := &reportWriter{w: w, p: p, d: d}
	verdict, s := o.Left+" and "+o.Right+": undecided", styleWarn
	if doc.Holds != nil {
		verdict, s = o.Left+" and "+o.Right+" are equivalent", styleGood
		if !*doc.Holds {
			verdict, s = o.Left+" and "+o.Right+" are not equivalent", styleBad
		}
	}
	verdict += " (" + doc.Equivalence + ")"
	if p.markdown {
		fmt.Fprintf(w, "### %s\n\n", verdict)
	} else {
		r.paragraph(s, verdict)
	}
	drawReasons(r, doc, o)
}

// drawReasons draws all but the verdict.
func drawReasons(r *reportWriter, doc *reportJSON, o explain.Options) {
	if doc.Grade != nil && !(doc.Holds != nil && *doc.Holds && *doc.Grade == string(explain.Equivalent)) {
		r.paragraph(stylePlain, r.name(*doc.Grade)+": "+doc.Summary)
	}
	r.run("The run, which only "+o.Right+" has", doc.Extra)
	if doc.Missing != nil {
		r.run("A run that only "+o.Left+" has", doc.Missing)
		r.item(doc.missing)
	}
	if f := doc.Formula; f != nil {
		r.heading("What tells them apart")
		for _, line := range f.Words {
			r.item(line)
		}
		switch r.d.formula {
		case "hml":
			r.heading("Formula, true of " + o.Left + " only")
			r.code(f.HML)
		case "mcf":
			r.heading("Formula for the mCRL2 toolset, true of " + o.Left + " only")
			r.code(f.MCF)
		}
	}
	r.coverage(doc.Coverage, o)
	r.ladder(doc, o)
	if doc.LeftOut != nil {
		r.heading("Left out")
		r.item(*doc.LeftOut + ".")
	}
}

// run shows a run step by step.
func (r *reportWriter) run(title string, t *traceJSON) {
	if t == nil {
		return
	}
	r.heading(title)
	var run strings.Builder
	run.WriteString(r.name(t.Start))
	for i, s := range t.Run {
		if left := len(t.Run) - firstRunSteps - lastRunSteps; left > 1 && i >= firstRunSteps && i < firstRunSteps+left {
			if i == firstRunSteps {
				fmt.Fprintf(&run, " ... %d more steps ...", left)
			}
			continue
		}
		fmt.Fprintf(&run, " --[%s]-> %s", r.name(s.Action), r.name(s.State))
	}
	r.item(run.String())
}

// coverage lists what was not shown.
func (r *reportWriter) coverage(c *coverageJSON, o explain.Options) {
	if c == nil || len(c.Missing) == 0 {
		return
	}
	r.heading(fmt.Sprintf("Not shown by %s: %d of %s of %s", o.Right, len(c.Missing), plural(c.Total, "transition"), o.Left))
	for i, t := range c.Missing {
		if i == maxShownMissing {
			r.item(fmt.Sprintf("... and %d more (all of them with --format json)", len(c.Missing)-i))
			break
		}
		r.item(fmt.Sprintf("%s --[%s]-> %s", r.name(t.From), r.name(t.Action), r.name(t.To)))
	}
}

// ladder shows which equivalences hold, if it is not the same for all.
func (r *reportWriter) ladder(doc *reportJSON, o explain.Options) {
	groups := map[string][]string{}
	for _, rung := range doc.Ladder {
		key := "not decided"
		if rung.Holds != nil {
			key = map[bool]string{true: "holds", false: "does not hold"}[*rung.Holds]
		}
		groups[key] = append(groups[key], rung.Equivalence)
	}
	if len(groups) == 0 {
		return
	}
	r.heading("Equivalences")
	for _, key := range []string{"holds", "does not hold", "not decided"} {
		if names := groups[key]; len(names) > 0 {
			r.item(key + ": " + strings.Join(names, ", "))
		}
	}
	r.halves(doc, "weak-simulation", "%s can answer every step of %s, but not the reverse", o)
	r.halves(doc, "weak-trace", "%s has every sequence of visible actions of %s, but not the reverse", o)
}

// halves says of an equivalence that does not hold whether half of it does.
func (r *reportWriter) halves(doc *reportJSON, equivalence, sentence string, o explain.Options) {
	rung := doc.rung(equivalence)
	if rung == nil || rung.Holds == nil || *rung.Holds {
		return
	}
	switch {
	case rung.RightInLeft != nil && *rung.RightInLeft:
		r.item(fmt.Sprintf(sentence, o.Left, o.Right))
	case rung.LeftInRight != nil && *rung.LeftInRight:
		r.item(fmt.Sprintf(sentence, o.Right, o.Left))
	}
}

func (doc *reportJSON) rung(equivalence string) *rungJSON {
	for i := range doc.Ladder {
		if doc.Ladder[i].Equivalence == equivalence {
			return &doc.Ladder[i]
		}
	}
	return nil
}

// fold breaks a text into lines of at most width runes, 0 being no limit, each
// with the indent, at spaces only: names are never broken. Spaces at the beginning of
// the text are part of the indent of all its lines.
// Lines after the first one have hang before them too.
func fold(text, indent, hang string, width int) string {
	own := len(text) - len(strings.TrimLeft(text, " "))
	indent += strings.Repeat(" ", own)
	text = text[own:]
	if width <= 0 {
		return indent + text
	}
	var out strings.Builder
	line := 0
	for i, word := range strings.Split(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
			out.WriteString(indent)
			line = utf8.RuneCountInString(indent)
		case line+1+n > width:
			out.WriteString("\n" + indent + hang)
			line = utf8.RuneCountInString(indent + hang)
		default:
			out.WriteByte(' ')
			line++
		}
		out.WriteString(word)
		line += n
	}
	return out.String()
}
