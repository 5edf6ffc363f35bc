"""Experiments: a recipe in, a frozen result with named fields out, and the figures and tables of that result.

Each loads when it is first used. `rbm-jax` runs most of them; the command prints the table, draws the figures and, with
`--json`, prints fields of the result.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rbm_jax.experiments.bounds import BoundsRecipe as BoundsRecipe
    from rbm_jax.experiments.bounds import LikelihoodBounds as LikelihoodBounds
    from rbm_jax.experiments.bounds import bound_likelihood as bound_likelihood
    from rbm_jax.experiments.bounds import bounds_table as bounds_table
    from rbm_jax.experiments.clusters import FixedPointsRecipe as FixedPointsRecipe
    from rbm_jax.experiments.clusters import FixedPointsResult as FixedPointsResult
    from rbm_jax.experiments.clusters import fixed_points as fixed_points
    from rbm_jax.experiments.clusters import fixed_points_arrays as fixed_points_arrays
    from rbm_jax.experiments.clusters import fixed_points_figure as fixed_points_figure
    from rbm_jax.experiments.clusters import fixed_points_table as fixed_points_table
    from rbm_jax.experiments.competition import Competition as Competition
    from rbm_jax.experiments.competition import CompetitionRecipe as CompetitionRecipe
    from rbm_jax.experiments.competition import LawCompetition as LawCompetition
    from rbm_jax.experiments.competition import compete as compete
    from rbm_jax.experiments.competition import mode_competition_figure as mode_competition_figure
    from rbm_jax.experiments.completions import Half as Half
    from rbm_jax.experiments.completions import ImputationResult as ImputationResult
    from rbm_jax.experiments.completions import ImputeRecipe as ImputeRecipe
    from rbm_jax.experiments.completions import Inpainting as Inpainting
    from rbm_jax.experiments.completions import InpaintRecipe as InpaintRecipe
    from rbm_jax.experiments.completions import imputation_figure as imputation_figure
    from rbm_jax.experiments.completions import impute_data as impute_data
    from rbm_jax.experiments.completions import inpaint as inpaint
    from rbm_jax.experiments.completions import inpainting_figure as inpainting_figure
    from rbm_jax.experiments.early_growth import EarlyGrowth as EarlyGrowth
    from rbm_jax.experiments.early_growth import EarlyGrowthRecipe as EarlyGrowthRecipe
    from rbm_jax.experiments.early_growth import growth_rates_figure as growth_rates_figure
    from rbm_jax.experiments.early_growth import growth_table as growth_table
    from rbm_jax.experiments.early_growth import measure_growth as measure_growth
    from rbm_jax.experiments.equation_figures import comparison_error_figure as comparison_error_figure
    from rbm_jax.experiments.equation_figures import comparison_figure as comparison_figure
    from rbm_jax.experiments.equation_figures import comparison_table as comparison_table
    from rbm_jax.experiments.equations import ComparisonRecipe as ComparisonRecipe
    from rbm_jax.experiments.equations import ComparisonResult as ComparisonResult
    from rbm_jax.experiments.equations import compare as compare
    from rbm_jax.experiments.gallery import FIGURES as FIGURES
    from rbm_jax.experiments.gallery import Exhibit as Exhibit
    from rbm_jax.experiments.gallery import Gallery as Gallery
    from rbm_jax.experiments.gallery import GalleryRecipe as GalleryRecipe
    from rbm_jax.experiments.gallery import caption as caption
    from rbm_jax.experiments.gallery import draw_gallery as draw_gallery
    from rbm_jax.experiments.instances import InstanceOrder as InstanceOrder
    from rbm_jax.experiments.instances import annealed_free_energy as annealed_free_energy
    from rbm_jax.experiments.instances import gibbs_order as gibbs_order
    from rbm_jax.experiments.instances import sample_instances as sample_instances
    from rbm_jax.experiments.instances import tap_order as tap_order
    from rbm_jax.experiments.linear_theory import Emergence as Emergence
    from rbm_jax.experiments.linear_theory import EmergenceRecipe as EmergenceRecipe
    from rbm_jax.experiments.linear_theory import StepConvergence as StepConvergence
    from rbm_jax.experiments.linear_theory import StepConvergenceRecipe as StepConvergenceRecipe
    from rbm_jax.experiments.linear_theory import emergence as emergence
    from rbm_jax.experiments.linear_theory import emergence_table as emergence_table
    from rbm_jax.experiments.linear_theory import linear_theory_figure as linear_theory_figure
    from rbm_jax.experiments.linear_theory import step_convergence as step_convergence
    from rbm_jax.experiments.linear_theory import step_convergence_figure as step_convergence_figure
    from rbm_jax.experiments.lossy import LossyData as LossyData
    from rbm_jax.experiments.lossy import LossyRecipe as LossyRecipe
    from rbm_jax.experiments.lossy import learn_from_lossy as learn_from_lossy
    from rbm_jax.experiments.lossy import lossy_data_figure as lossy_data_figure
    from rbm_jax.experiments.lossy import lossy_table as lossy_table
    from rbm_jax.experiments.measured_phases import MeasuredPhases as MeasuredPhases
    from rbm_jax.experiments.measured_phases import MeasuredPhasesRecipe as MeasuredPhasesRecipe
    from rbm_jax.experiments.measured_phases import measure_phase_diagram as measure_phase_diagram
    from rbm_jax.experiments.measured_phases import phase_diagram_figure as phase_diagram_figure
    from rbm_jax.experiments.methods import MethodsRecipe as MethodsRecipe
    from rbm_jax.experiments.methods import MethodsResult as MethodsResult
    from rbm_jax.experiments.methods import Quality as Quality
    from rbm_jax.experiments.methods import compare_training as compare_training
    from rbm_jax.experiments.methods import methods_table as methods_table
    from rbm_jax.experiments.methods import training_methods_figure as training_methods_figure
    from rbm_jax.experiments.order import OrderRecipe as OrderRecipe
    from rbm_jax.experiments.order import OrderResult as OrderResult
    from rbm_jax.experiments.order import measure_order as measure_order
    from rbm_jax.experiments.order import order_parameters_figure as order_parameters_figure
    from rbm_jax.experiments.phases import LawName as LawName
    from rbm_jax.experiments.phases import PhaseDiagram as PhaseDiagram
    from rbm_jax.experiments.phases import PhaseDiagramRecipe as PhaseDiagramRecipe
    from rbm_jax.experiments.phases import PhaseMap as PhaseMap
    from rbm_jax.experiments.phases import TrainingPath as TrainingPath
    from rbm_jax.experiments.phases import draw_phases as draw_phases
    from rbm_jax.experiments.phases import follow_path as follow_path
    from rbm_jax.experiments.phases import map_phases as map_phases
    from rbm_jax.experiments.phases import path_table as path_table
    from rbm_jax.experiments.phases import phases_figure as phases_figure
    from rbm_jax.experiments.phases import training_path_figure as training_path_figure
    from rbm_jax.experiments.projected import Instance as Instance
    from rbm_jax.experiments.projected import ProjectedRuns as ProjectedRuns
    from rbm_jax.experiments.projected import instance_force as instance_force
    from rbm_jax.experiments.projected import projected_training as projected_training
    from rbm_jax.experiments.quality import log_likelihood_along as log_likelihood_along
    from rbm_jax.experiments.samples import SampleRecipe as SampleRecipe
    from rbm_jax.experiments.samples import Samples as Samples
    from rbm_jax.experiments.samples import sample_run as sample_run
    from rbm_jax.experiments.spectrum_figures import SPECTRUM_FIGURES as SPECTRUM_FIGURES
    from rbm_jax.experiments.spectrum_figures import draw_spectrum as draw_spectrum
    from rbm_jax.experiments.spectrum_figures import histograms_figure as histograms_figure
    from rbm_jax.experiments.spectrum_figures import mode_statistics_figure as mode_statistics_figure
    from rbm_jax.experiments.spectrum_figures import modes_figure as modes_figure
    from rbm_jax.experiments.spectrum_figures import motion_figure as motion_figure
    from rbm_jax.experiments.spectrum_figures import overlaps_figure as overlaps_figure
    from rbm_jax.experiments.spectrum_figures import singular_values_figure as singular_values_figure
    from rbm_jax.experiments.spectrum_figures import temperature_figure as temperature_figure
    from rbm_jax.experiments.tied_weights import TiedWeights as TiedWeights
    from rbm_jax.experiments.tied_weights import TiedWeightsRecipe as TiedWeightsRecipe
    from rbm_jax.experiments.tied_weights import learn_tied as learn_tied
    from rbm_jax.experiments.tied_weights import symmetry_figure as symmetry_figure
    from rbm_jax.experiments.tied_weights import tied_weights_table as tied_weights_table
    from rbm_jax.experiments.training_spectrum import SpectrumResult as SpectrumResult
    from rbm_jax.experiments.training_spectrum import spectrum as spectrum
    from rbm_jax.experiments.training_spectrum import spectrum_table as spectrum_table
    from rbm_jax.experiments.trajectory import DeterministicTrajectory as DeterministicTrajectory
    from rbm_jax.experiments.trajectory import FollowedCase as FollowedCase
    from rbm_jax.experiments.trajectory import TrajectoryRecipe as TrajectoryRecipe
    from rbm_jax.experiments.trajectory import deterministic_trajectory_figure as deterministic_trajectory_figure
    from rbm_jax.experiments.trajectory import follow_trajectory as follow_trajectory

__all__ = [
    "BoundsRecipe",
    "ComparisonRecipe",
    "ComparisonResult",
    "Competition",
    "CompetitionRecipe",
    "DeterministicTrajectory",
    "EarlyGrowth",
    "EarlyGrowthRecipe",
    "Emergence",
    "EmergenceRecipe",
    "Exhibit",
    "FIGURES",
    "FixedPointsRecipe",
    "FixedPointsResult",
    "FollowedCase",
    "Gallery",
    "GalleryRecipe",
    "Half",
    "ImputationResult",
    "ImputeRecipe",
    "InpaintRecipe",
    "Inpainting",
    "Instance",
    "InstanceOrder",
    "LawCompetition",
    "LawName",
    "LikelihoodBounds",
    "LossyData",
    "LossyRecipe",
    "MeasuredPhases",
    "MeasuredPhasesRecipe",
    "MethodsRecipe",
    "MethodsResult",
    "OrderRecipe",
    "OrderResult",
    "PhaseDiagram",
    "PhaseDiagramRecipe",
    "PhaseMap",
    "ProjectedRuns",
    "Quality",
    "SPECTRUM_FIGURES",
    "SampleRecipe",
    "Samples",
    "SpectrumResult",
    "StepConvergence",
    "StepConvergenceRecipe",
    "TiedWeights",
    "TiedWeightsRecipe",
    "TrainingPath",
    "TrajectoryRecipe",
    "annealed_free_energy",
    "bound_likelihood",
    "bounds_table",
    "caption",
    "compare",
    "compare_training",
    "comparison_error_figure",
    "comparison_figure",
    "comparison_table",
    "compete",
    "deterministic_trajectory_figure",
    "draw_gallery",
    "draw_phases",
    "draw_spectrum",
    "emergence",
    "emergence_table",
    "fixed_points",
    "fixed_points_arrays",
    "fixed_points_figure",
    "fixed_points_table",
    "follow_path",
    "follow_trajectory",
    "gibbs_order",
    "growth_rates_figure",
    "growth_table",
    "histograms_figure",
    "imputation_figure",
    "impute_data",
    "inpaint",
    "inpainting_figure",
    "instance_force",
    "learn_from_lossy",
    "learn_tied",
    "linear_theory_figure",
    "log_likelihood_along",
    "lossy_data_figure",
    "lossy_table",
    "map_phases",
    "measure_growth",
    "measure_order",
    "measure_phase_diagram",
    "methods_table",
    "mode_competition_figure",
    "mode_statistics_figure",
    "modes_figure",
    "motion_figure",
    "order_parameters_figure",
    "overlaps_figure",
    "path_table",
    "phase_diagram_figure",
    "phases_figure",
    "projected_training",
    "sample_instances",
    "sample_run",
    "singular_values_figure",
    "spectrum",
    "spectrum_table",
    "step_convergence",
    "step_convergence_figure",
    "symmetry_figure",
    "tap_order",
    "temperature_figure",
    "tied_weights_table",
    "training_methods_figure",
    "training_path_figure",
]

_HOMES = {
    name: module
    for module, names in {
        "bounds": "BoundsRecipe LikelihoodBounds bound_likelihood bounds_table",
        "clusters": "FixedPointsRecipe FixedPointsResult fixed_points fixed_points_arrays fixed_points_figure"
        " fixed_points_table",
        "competition": "Competition CompetitionRecipe LawCompetition compete mode_competition_figure",
        "completions": "Half ImputationResult ImputeRecipe InpaintRecipe Inpainting imputation_figure impute_data"
        " inpaint inpainting_figure",
        "early_growth": "EarlyGrowth EarlyGrowthRecipe growth_rates_figure growth_table measure_growth",
        "equation_figures": "comparison_error_figure comparison_figure comparison_table",
        "equations": "ComparisonRecipe ComparisonResult compare",
        "gallery": "Exhibit FIGURES Gallery GalleryRecipe caption draw_gallery",
        "instances": "InstanceOrder annealed_free_energy gibbs_order sample_instances tap_order",
        "linear_theory": "Emergence EmergenceRecipe StepConvergence StepConvergenceRecipe emergence emergence_table"
        " linear_theory_figure step_convergence step_convergence_figure",
        "lossy": "LossyData LossyRecipe learn_from_lossy lossy_data_figure lossy_table",
        "measured_phases": "MeasuredPhases MeasuredPhasesRecipe measure_phase_diagram phase_diagram_figure",
        "methods": "MethodsRecipe MethodsResult Quality compare_training methods_table training_methods_figure",
        "order": "OrderRecipe OrderResult measure_order order_parameters_figure",
        "phases": "LawName PhaseDiagram PhaseDiagramRecipe PhaseMap TrainingPath draw_phases follow_path"
        " map_phases path_table phases_figure training_path_figure",
        "projected": "Instance ProjectedRuns instance_force projected_training",
        "quality": "log_likelihood_along",
        "samples": "SampleRecipe Samples sample_run",
        "spectrum_figures": "SPECTRUM_FIGURES draw_spectrum histograms_figure mode_statistics_figure modes_figure"
        " motion_figure overlaps_figure singular_values_figure temperature_figure",
        "tied_weights": "TiedWeights TiedWeightsRecipe learn_tied symmetry_figure tied_weights_table",
        "training_spectrum": "SpectrumResult spectrum spectrum_table",
        "trajectory": "DeterministicTrajectory FollowedCase TrajectoryRecipe deterministic_trajectory_figure"
        " follow_trajectory",
    }.items()
    for name in names.split()
}

if not TYPE_CHECKING:  # else type checkers would take every name for a public one

    def __getattr__(name: str):
        """Import the module that has the name, and keep the name here: this function is not called for it again."""
        if name not in _HOMES:
            raise AttributeError(f"module 'rbm_jax.experiments' has no attribute {name!r}")
        globals()[name] = value = getattr(importlib.import_module(f"rbm_jax.experiments.{_HOMES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
