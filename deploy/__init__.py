"""What runs learndrop: containers, alerts, dashboards, the demo, and all on one machine."""
