"""The command line: `app` holds the commands, `options`, `console` and `grid` what several of them share."""
