package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// filter is what stands behind a bar.
type filter func(r *renderer, value any, a *arguments) any

var filters map[string]filter

func init() {
	filters = map[string]filter{
		"tojson":   toJSON,
		"default":  defaultTo,
		"d":        defaultTo,
		"length":   length,
		"count":    length,
		"string":   func(r *renderer, v any, _ *arguments) any { return r.text(r.str(v)) },
		"list":     func(r *renderer, v any, _ *arguments) any { return r.list(slices.Clone(r.iterate(v))) },
		"int":      toInt,
		"float":    toFloat,
		"safe":     func(_ *renderer, v any, _ *arguments) any { return v },
		"escape":   escapeHTML,
		"e":        escapeHTML,
		"indent":   indent,
		"items":    itemsOf,
		"dictsort": dictSort,
		"join": func(r *renderer, v any, a *arguments) any {
			between, attribute := a.text(r, 0, "d", ""), a.text(r, 1, "attribute", "")
			items := r.iterate(v)
			if attribute != "" {
				items = r.each(items, func(item any) any { return r.path(item, attribute) })
			}
			return r.join(items, between)
		},
		"first": func(r *renderer, v any, _ *arguments) any { return end1(r.iterate(v), 0) },
		"last": func(r *renderer, v any, _ *arguments) any {
			items := r.iterate(v)
			return end1(items, len(items)-1)
		},
		"reverse": func(r *renderer, v any, _ *arguments) any {
			items := slices.Clone(r.iterate(v))
			slices.Reverse(items)
			if _, ok := v.(string); ok {
				return r.join(items, "")
			}
			return r.list(items)
		},
		"sort":   sorted,
		"unique": unique,
		"sum": func(r *renderer, v any, a *arguments) any {
			attribute := a.text(r, 0, "attribute", "")
			var total any = int64(0)
			for _, item := range r.iterate(v) {
				if attribute != "" {
					item = r.path(item, attribute)
				}
				total = r.arithmetic("+", total, item)
			}
			return total
		},
		"min": extreme(-1), "max": extreme(1),
		"abs": func(r *renderer, v any, _ *arguments) any {
			if f, ok := v.(float64); ok {
				return math.Abs(f)
			}
			if i, _ := whole(v); i >= 0 && isNumber(v) {
				return i
			}
			return r.arithmetic("-", int64(0), v)
		},
		"round": func(r *renderer, v any, a *arguments) any {
			f, ok := number64(v)
			if !ok {
				r.fail("%s cannot be rounded", typeName(v))
			}
			scale := math.Pow(10, float64(a.whole(r, 0, "precision", 0)))
			return math.RoundToEven(f*scale) / scale
		},
		"map": mapped, "select": selecting(false, true), "reject": selecting(false, false),
		"selectattr": selecting(true, true), "rejectattr": selecting(true, false),
		"replace": func(r *renderer, v any, a *arguments) any {
			return r.replaced(r.str(v), a.text(r, 0, "old", ""), a.text(r, 1, "new", ""), a.whole(r, 2, "count", -1))
		},
	}
	for name, method := range map[string]string{"trim": "strip", "upper": "upper", "lower": "lower", "title": "title", "capitalize": "capitalize"} {
		filters[name] = func(r *renderer, v any, a *arguments) any { return stringMethods[method](r, r.str(v), a) }
	}
}

func defaultTo(_ *renderer, value any, a *arguments) any {
	other, ok := a.at(0, "default_value")
	if !ok {
		other = ""
	}
	falsy := a.flag(1, "boolean")
	if _, missing := value.(undefined); missing || falsy && !truth(value) {
		return other
	}
	return value
}

func length(r *renderer, value any, _ *arguments) any {
	if s, ok := value.(string); ok {
		return int64(utf8.RuneCountInString(r.text(s)))
	}
	return int64(len(r.iterate(value)))
}

func end1(items []any, i int) any {
	if i < 0 || i >= len(items) {
		return undefined{"an element of an empty list"}
	}
	return items[i]
}

func toInt(r *renderer, value any, a *arguments) any {
	absent := a.whole(r, 0, "default", 0)
	switch v := value.(type) {
	case string:
		if i, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return i
		}
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && math.Abs(f) < 1<<62 {
			return int64(f)
		}
	case float64:
		if math.Abs(v) < 1<<62 {
			return int64(v)
		}
	default:
		if i, ok := whole(v); ok {
			return i
		}
	}
	return absent
}

func toFloat(_ *renderer, value any, _ *arguments) any {
	if s, ok := value.(string); ok {
		f, _ := strconv.ParseFloat(strings.TrimSpace(s), 64)
		return f
	}
	f, _ := number64(value)
	return f
}

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", "\"", "&#34;")

func escapeHTML(r *renderer, value any, _ *arguments) any {
	return r.text(htmlEscapes.Replace(r.text(r.str(value))))
}

// indent puts blanks before every line but the first, and before blank ones, if asked.
func indent(r *renderer, value any, a *arguments) any {
	width, ok := a.at(0, "width")
	if !ok {
		width = int64(4)
	}
	first, blank := a.flag(1, "first"), a.flag(2, "blank")
	by, isText := width.(string)
	if n, ok := whole(width); ok {
		by = strings.Repeat(" ", int(max(0, min(n, 1000))))
	} else if !isText {
		r.fail("the width is %s, expected a number", typeName(width))
	}
	s := r.str(value)
	if (strings.Count(s, "\n")+1)*len(by)+len(s) > maxText {
		r.fail("a text is longer than %d bytes", maxText)
	}
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if (i > 0 || first) && (line != "" || blank) {
			lines[i] = by + line
		}
	}
	return r.text(strings.Join(lines, "\n"))
}

func itemsOf(r *renderer, value any, _ *arguments) any {
	switch v := value.(type) {
	case *Dict:
		return r.list(v.pairs())
	case undefined:
		return []any(nil)
	}
	r.fail("%s has no items", typeName(value))
	return nil
}

// dictSort gives the members of a mapping in order of their keys, by default without
// regard to case.
func dictSort(r *renderer, value any, a *arguments) any {
	d, ok := value.(*Dict)
	if !ok {
		r.fail("%s has no items", typeName(value))
	}
	fold := !a.flag(0, "case_sensitive")
	place := 0
	if a.text(r, 1, "by", "key") == "value" {
		place = 1
	}
	pairs := d.pairs()
	slices.SortStableFunc(pairs, func(x, y any) int {
		return r.order(folded(x.([]any)[place], fold), folded(y.([]any)[place], fold))
	})
	if a.flag(2, "reverse") {
		slices.Reverse(pairs)
	}
	return r.list(pairs)
}

// folded is a value without regard to case.
func folded(value any, fold bool) any {
	if s, ok := value.(string); ok && fold {
		return strings.ToLower(s)
	}
	return value
}

func sorted(r *renderer, value any, a *arguments) any {
	backwards, fold, attribute := a.flag(0, "reverse"), !a.flag(1, "case_sensitive"), a.text(r, 2, "attribute", "")
	key := func(item any) any {
		if attribute != "" {
			item = r.path(item, attribute)
		}
		return folded(item, fold)
	}
	items := slices.Clone(r.iterate(value))
	slices.SortStableFunc(items, func(x, y any) int {
		if backwards {
			x, y = y, x
		}
		return r.order(key(x), key(y))
	})
	return r.list(items)
}

func unique(r *renderer, value any, _ *arguments) any {
	var kept []any
	for _, item := range r.iterate(value) {
		if !slices.ContainsFunc(kept, func(k any) bool { return r.equal(folded(k, true), folded(item, true)) }) {
			kept = append(kept, item)
		}
	}
	return r.list(kept)
}

// extreme gives the smallest (-1) or largest (1) element.
func extreme(sign int) filter {
	return func(r *renderer, value any, _ *arguments) any {
		items := r.iterate(value)
		best := end1(items, 0)
		for _, item := range items {
			if r.order(item, best)*sign > 0 {
				best = item
			}
		}
		return best
	}
}

// path is an attribute of an item; dots lead further in.
func (r *renderer) path(item any, path string) any {
	for part := range strings.SplitSeq(path, ".") {
		var index any = part
		if i, err := strconv.ParseInt(part, 10, 64); err == nil {
			index = i
		}
		item = r.index(item, index)
	}
	return item
}

func (r *renderer) each(items []any, f func(any) any) []any {
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = f(item)
	}
	return r.list(out)
}

// mapped is the filter map: an attribute of every element, or a filter on it.
func mapped(r *renderer, value any, a *arguments) any {
	items := r.iterate(value)
	if attribute, ok := a.take("attribute"); ok {
		absent, hasDefault := a.take("default")
		return r.each(items, func(item any) any {
			found := r.path(item, r.str(attribute))
			if _, missing := found.(undefined); missing && hasDefault {
				return absent
			}
			return found
		})
	}
	f := filters[a.text(r, 0, "name", "")]
	if f == nil {
		r.fail("map needs an attribute or the name of a filter")
	}
	return r.each(items, func(item any) any { return f(r, item, a.behind(1)) })
}

// behind is a copy of the arguments from place n on.
func (a *arguments) behind(n int) *arguments {
	return &arguments{list: a.list[min(n, len(a.list)):], named: slices.Clone(a.named)}
}

// selecting makes select, reject, selectattr and rejectattr: by a test, or by truth.
func selecting(byAttribute, keep bool) filter {
	return func(r *renderer, value any, a *arguments) any {
		attribute, n := "", 0
		if byAttribute {
			attribute, n = a.text(r, 0, "attribute", ""), 1
		}
		check := func(_ *renderer, value any, _ *arguments) bool { return truth(value) }
		if len(a.list) > n {
			name := a.text(r, n, "test", "")
			if check = tests[name]; check == nil {
				r.fail("the test %.40q is not supported", name)
			}
		}
		var kept []any
		for _, item := range r.iterate(value) {
			tested := item
			if byAttribute {
				tested = r.path(item, attribute)
			}
			if check(r, tested, a.behind(n+1)) == keep {
				kept = append(kept, item)
			}
		}
		return r.list(kept)
	}
}
