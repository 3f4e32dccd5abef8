"""What runs learndrop: images, rules, dashboards, and everything on one machine."""
