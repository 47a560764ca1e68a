package jinja

// builtins are the functions that every template sees. A template that asks for the time
// (strftime_now) finds it undefined.
var builtins = map[string]function{
	"raise_exception": func(r *renderer, a *arguments) any {
		panic(&Error{Line: r.line, Message: a.text(r, 0, "message", ""), Raised: true})
	},
	"namespace": func(r *renderer, a *arguments) any {
		space := &namespace{map[string]any{}}
		for _, value := range a.list {
			d, ok := value.(*Dict)
			if !ok {
				r.fail("namespace takes mappings and names")
			}
			for _, key := range d.keys {
				space.values[key] = d.values[key]
			}
		}
		for _, n := range a.named {
			space.values[n.name] = n.value
		}
		return space
	},
	"dict": func(r *renderer, a *arguments) any {
		d := NewDict()
		for _, value := range a.list {
			from, ok := value.(*Dict)
			if !ok {
				r.fail("dict takes mappings and names")
			}
			for _, key := range from.keys {
				d.Set(key, from.values[key])
			}
		}
		for _, n := range a.named {
			d.Set(n.name, n.value)
		}
		return d
	},
	"range": func(r *renderer, a *arguments) any {
		from, to, step := int64(0), a.whole(r, 0, "stop", 0), int64(1)
		if len(a.list) > 1 {
			from, to, step = to, a.whole(r, 1, "stop", 0), a.whole(r, 2, "step", 1)
		}
		if step == 0 {
			r.fail("the step of a range is zero")
		}
		if span := float64(to) - float64(from); span/float64(step) > maxItems {
			r.fail("a range is longer than %d elements", maxItems)
		}
		var items []any
		for at := from; step > 0 && at < to || step < 0 && at > to; at += step {
			items = append(items, at)
		}
		return r.list(items)
	},
}
