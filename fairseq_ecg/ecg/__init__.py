"""What an ECG is: leads, units, resampling, standardisation, segments and quality."""
