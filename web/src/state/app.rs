//! The whole page's state, and the one reducer that changes it.

use std::rc::Rc;

use linger_shared::{
    experiment::Descriptor,
    protocol::{CatalogueEntry, Doctor, RunInfo, RunState},
};
use yew::Reducible;

use super::{
    form::Form,
    keys::Command,
    load::{Load, Trouble},
    replay::ReplayAction,
    route::Route,
    run::Run,
    stream::Report,
    view::{View, ViewAction, ZOOM_STEP},
};

/// Light, dark, or as the system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// As the system has it.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// The name that is stored and that the style sheet knows; `None` for the system's.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::System => None,
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
        }
    }

    /// The theme of a stored name; the system's for any other.
    pub fn from_name(name: Option<&str>) -> Self {
        match name {
            Some("light") => Self::Light,
            Some("dark") => Self::Dark,
            _ => Self::System,
        }
    }

    /// The one that the button gives next.
    pub const fn next(self) -> Self {
        match self {
            Self::System => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::System,
        }
    }
}

/// Which region a narrow screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tab {
    /// The sequence diagram.
    #[default]
    Diagram,
    /// Catalogue, parameters and explanation.
    About,
    /// Selected packet, sockets and verdict.
    Details,
}

/// Everything that the page knows.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Where it stands.
    pub route: Route,
    /// The experiments.
    pub catalogue: Load<Rc<Vec<CatalogueEntry>>>,
    /// What the server's machine can do.
    pub doctor: Option<Rc<Doctor>>,
    /// Runs that the server still knows, the most recent first.
    pub recent: Rc<Vec<RunInfo>>,
    /// What is written in the catalogue's search field.
    pub search: String,
    /// The parameter form of the experiment that is shown.
    pub form: Form,
    /// Whether a run was asked for and the server has not answered.
    pub starting: bool,
    /// Why the last request about a run was refused.
    pub trouble: Option<Trouble>,
    /// The run that is shown.
    pub run: Option<Run>,
    /// What of it is in the window.
    pub view: View,
    /// Which region a narrow screen shows.
    pub tab: Tab,
    /// Whether the list of keys is open.
    pub help: bool,
    /// Light or dark.
    pub theme: Theme,
    /// Whether single keys do something.
    pub shortcuts: bool,
}

/// What can happen to the page.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Go somewhere.
    Navigate(Route),
    /// The catalogue was asked for again.
    AskCatalogue,
    /// The catalogue came, or did not.
    Catalogue(Result<Vec<CatalogueEntry>, Trouble>),
    /// The doctor's report came.
    Doctor(Doctor),
    /// The list of runs came.
    Recent(Vec<RunInfo>),
    /// A run and its record are gone, by its id.
    Deleted(String),
    /// The search field changed.
    Search(String),
    /// A parameter's field changed.
    Field {
        /// The parameter.
        name: String,
        /// What is written there now.
        text: String,
    },
    /// A preset was chosen, by its place in the descriptor's list.
    Preset(usize),
    /// Every field back to its default.
    Reset,
    /// A run was asked for.
    Starting,
    /// The server started a run, or refused to.
    Started {
        /// Its answer.
        answer: Result<Box<RunInfo>, Trouble>,
        /// When it came, on the page's clock, in milliseconds.
        page_ms: f64,
    },
    /// A request about a run was refused.
    Refused(Trouble),
    /// The message about a refusal was read.
    Dismiss,
    /// The event stream of a run reports.
    Stream {
        /// The run's id.
        run: String,
        /// What it reports.
        report: Report,
    },
    /// Something was done to the window.
    View {
        /// What.
        action: ViewAction,
        /// When, on the page's clock, in milliseconds.
        page_ms: f64,
    },
    /// Something was done to the replay.
    Replay {
        /// What.
        action: ReplayAction,
        /// When, on the page's clock, in milliseconds.
        page_ms: f64,
    },
    /// A key was struck.
    Command {
        /// What it asks for.
        command: Command,
        /// When, on the page's clock, in milliseconds.
        page_ms: f64,
    },
    /// Another region of a narrow screen.
    Tab(Tab),
    /// Open or close the list of keys.
    Help(bool),
    /// Another theme.
    Theme(Theme),
    /// Single-key shortcuts on or off.
    Shortcuts(bool),
}

impl App {
    /// The page as it opens.
    pub fn new(route: Route, theme: Theme, shortcuts: bool) -> Self {
        let mut app = Self {
            route: Route::Home,
            catalogue: Load::Waiting,
            doctor: None,
            recent: Rc::default(),
            search: String::new(),
            form: Form::default(),
            starting: false,
            trouble: None,
            run: None,
            view: View::default(),
            tab: Tab::default(),
            help: false,
            theme,
            shortcuts,
        };
        app.navigate(route);
        app
    }

    /// The id of the experiment that is shown; `None` while it is not known.
    pub fn experiment_id(&self) -> Option<&str> {
        match &self.route {
            Route::Experiment { id, .. } => Some(id),
            Route::Run { .. } => self
                .run
                .as_ref()
                .and_then(|run| run.info.as_ref())
                .map(|info| info.experiment.as_str()),
            Route::Home => {
                let entries = self.catalogue.ready()?;
                let available = entries.iter().find(|entry| entry.runs_as.is_some());
                let first = available.or_else(|| entries.first())?;
                Some(&first.descriptor.id)
            }
            Route::Unknown { .. } => None,
        }
    }

    /// The experiment that is shown.
    pub fn entry(&self) -> Option<&CatalogueEntry> {
        let id = self.experiment_id()?;
        let entries = self.catalogue.ready()?;
        entries.iter().find(|entry| entry.descriptor.id == id)
    }

    /// Whether the Run button can be pressed.
    pub fn can_start(&self) -> bool {
        !self.starting
            && self.entry().is_some_and(|entry| {
                entry.runs_as.is_some() && self.form.is_valid(&entry.descriptor)
            })
            && !self.run.as_ref().is_some_and(Run::is_live)
    }

    fn descriptor(&self) -> Option<Descriptor> {
        self.entry().map(|entry| entry.descriptor.clone())
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Navigate(route) => self.navigate(route),
            Action::AskCatalogue => self.catalogue = Load::Waiting,
            Action::Catalogue(answer) => {
                self.catalogue = match answer {
                    Ok(entries) => Load::Ready(Rc::new(entries)),
                    Err(trouble) => Load::Failed(trouble),
                };
                self.refill();
            }
            Action::Doctor(doctor) => self.doctor = Some(Rc::new(doctor)),
            Action::Recent(runs) => self.recent = Rc::new(runs),
            Action::Deleted(id) => self.deleted(&id),
            Action::Search(text) => self.search = text,
            Action::Field { name, text } => self.edit(|form, descriptor| {
                if let Some(param) = descriptor.params.iter().find(|param| param.name == name) {
                    form.set(param, text);
                }
            }),
            Action::Preset(place) => self.edit(|form, descriptor| {
                if let Some(preset) = descriptor.presets.get(place) {
                    form.apply(descriptor, preset);
                }
            }),
            Action::Reset => self.edit(|form, _| form.reset()),
            Action::Starting => {
                self.starting = true;
                self.trouble = None;
            }
            Action::Started { answer, page_ms } => self.started(answer, page_ms),
            Action::Refused(trouble) => {
                self.trouble = Some(trouble);
                // A narrow screen shows it beside the diagram alone.
                self.tab = Tab::Diagram;
            }
            Action::Dismiss => self.trouble = None,
            Action::Stream { run, report } => self.stream(&run, report),
            Action::View { action, page_ms } => self.look(action, page_ms),
            Action::Replay { action, page_ms } => self.replay(action, page_ms),
            Action::Command { command, page_ms } => self.command(command, page_ms),
            Action::Tab(tab) => self.tab = tab,
            Action::Help(open) => self.help = open,
            Action::Theme(theme) => self.theme = theme,
            Action::Shortcuts(on) => self.shortcuts = on,
        }
    }

    fn look(&mut self, action: ViewAction, page_ms: f64) {
        let now_us = self.run.as_ref().and_then(|run| run.now_us(page_ms));
        let record = self.run.as_ref().and_then(|run| run.shown().cloned());
        let record = record.as_ref().map(|record| record.borrow());
        self.view
            .apply(action, record.as_ref().map(|record| record.model()), now_us);
    }

    fn replay(&mut self, action: ReplayAction, page_ms: f64) {
        let Some(run) = &mut self.run else {
            return;
        };
        let was_replayed = run.replay.is_some();
        run.play(action, page_ms);
        if run.replay.is_some() && !was_replayed {
            // A replay is followed like the live run that it was.
            self.look(ViewAction::GoLive, page_ms);
        }
    }

    fn command(&mut self, command: Command, page_ms: f64) {
        let action = match command {
            Command::Escape if self.help => return self.help = false,
            // While the list of keys is open, keys belong to it.
            _ if self.help => return,
            Command::Help => return self.help = true,
            Command::Escape => ViewAction::Select { id: None },
            Command::Pause
                if !self.view.is_paused() && self.run.as_ref().is_some_and(Run::can_replay) =>
            {
                return self.replay(ReplayAction::Toggle, page_ms);
            }
            Command::Pause => ViewAction::Pause,
            Command::NextPacket => ViewAction::Step { by: 1 },
            Command::PreviousPacket => ViewAction::Step { by: -1 },
            Command::NextChapter => ViewAction::Chapter { forward: true },
            Command::PreviousChapter => ViewAction::Chapter { forward: false },
            Command::Fit => ViewAction::Fit,
            Command::GoLive => {
                self.replay(ReplayAction::Leave, page_ms);
                ViewAction::GoLive
            }
            Command::ZoomIn => ViewAction::Zoom {
                factor: ZOOM_STEP,
                anchor: None,
            },
            Command::ZoomOut => ViewAction::Zoom {
                factor: 1.0 / ZOOM_STEP,
                anchor: None,
            },
        };
        self.look(action, page_ms);
    }

    fn navigate(&mut self, route: Route) {
        if self.route == route && self.run.is_some() == matches!(route, Route::Run { .. }) {
            return;
        }
        self.trouble = None;
        match &route {
            Route::Run { id } if self.run.as_ref().is_some_and(|run| run.id == *id) => {}
            Route::Run { id } => self.show(Run::new(id)),
            _ => self.run = None,
        }
        self.route = route;
        self.refill();
    }

    fn show(&mut self, run: Run) {
        self.view = self.view.of_another_run(true);
        self.run = Some(run);
    }

    /// Fills the form from the address or from the run's header, once its experiment is known.
    fn refill(&mut self) {
        let Some(descriptor) = self.descriptor() else {
            return;
        };
        match &self.route {
            Route::Experiment { values, .. } => {
                // What the user typed is in the address too, so that nothing is lost here.
                self.form = Form::new(&descriptor, values);
            }
            _ if self.form.experiment == descriptor.id => {}
            _ => {
                let header = self
                    .run
                    .as_ref()
                    .and_then(|run| run.info.as_ref())
                    .and_then(|info| info.header.as_ref());
                let values = header.map(|header| {
                    let written =
                        |(name, value): (&String, &_)| (name.clone(), ToString::to_string(value));
                    header.params.iter().map(written).collect()
                });
                if values.is_some() || self.run.is_none() {
                    self.form = Form::new(&descriptor, &values.unwrap_or_default());
                }
            }
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Form, &Descriptor)) {
        let Some(descriptor) = self.descriptor() else {
            return;
        };
        if self.form.experiment != descriptor.id {
            self.form = Form::new(&descriptor, &Default::default());
        }
        change(&mut self.form, &descriptor);
        // A run's address stays: it shows that run, whatever the next one will be.
        if !matches!(self.route, Route::Run { .. }) {
            self.route = Route::Experiment {
                id: descriptor.id,
                values: self.form.query(),
            };
        }
    }

    fn started(&mut self, answer: Result<Box<RunInfo>, Trouble>, page_ms: f64) {
        self.starting = false;
        match answer {
            Ok(info) => {
                self.route = Route::Run {
                    id: info.id.clone(),
                };
                self.tab = Tab::Diagram;
                self.show(Run::started(*info, page_ms));
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// A run that was shown gives way to its experiment.
    fn deleted(&mut self, id: &str) {
        Rc::make_mut(&mut self.recent).retain(|run| run.id != id);
        if self.run.as_ref().is_some_and(|run| run.id == id) {
            let route = match self.experiment_id() {
                Some(id) => Route::Experiment {
                    id: id.to_owned(),
                    values: self.form.query(),
                },
                None => Route::Home,
            };
            self.navigate(route);
        }
    }

    fn stream(&mut self, id: &str, report: Report) {
        let Some(run) = self.run.as_mut().filter(|run| run.id == id) else {
            return;
        };
        let first = run.info.is_none();
        let had_header = run.record.is_some();
        run.take(report);
        let over = run.state().is_some_and(RunState::is_over);
        let has_header = run.record.is_some();
        if first && over {
            // A run that was over before it was opened is read from its beginning.
            self.view = self.view.of_another_run(false);
        }
        if has_header && !had_header {
            self.refill();
        }
    }
}

impl Reducible for App {
    type Action = Action;

    fn reduce(self: Rc<Self>, action: Action) -> Rc<Self> {
        let mut next = Rc::unwrap_or_clone(self);
        next.apply(action);
        Rc::new(next)
    }
}

#[cfg(test)]
mod tests {

    use linger_shared::protocol::StreamMessage;

    use super::*;
    use crate::state::samples;

    fn at(route: Route) -> App {
        App::new(route, Theme::System, true)
    }

    fn with_catalogue(route: Route) -> App {
        let mut app = at(route);
        app.apply(Action::Catalogue(Ok(samples::catalogue())));
        app
    }

    fn experiment(id: &str, values: &[(&str, &str)]) -> Route {
        Route::Experiment {
            id: id.to_owned(),
            values: values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn the_catalogue_opens_on_its_first_available_experiment() {
        let app = with_catalogue(Route::Home);
        assert_eq!(app.experiment_id(), Some("tcp-dead-peer"));
        assert!(app.can_start());
        assert!(app.run.is_none());
    }

    #[test]
    fn an_unavailable_experiment_cannot_be_started() {
        let app = with_catalogue(experiment("tcp-lifecycle", &[]));
        assert!(app.entry().unwrap().unavailable.is_some());
        assert!(!app.can_start());
    }

    #[test]
    fn values_in_the_address_fill_the_form_and_edits_go_back_there() {
        let mut app = with_catalogue(experiment("tcp-dead-peer", &[("idle", "3s")]));
        let param = app.entry().unwrap().descriptor.params[0].clone();
        assert_eq!(app.form.text(&param), "3s");
        app.apply(Action::Field {
            name: "idle".to_owned(),
            text: "4s".to_owned(),
        });
        assert_eq!(app.route, experiment("tcp-dead-peer", &[("idle", "4s")]));
        app.apply(Action::Reset);
        assert_eq!(app.route, experiment("tcp-dead-peer", &[]));
    }

    #[test]
    fn a_form_with_an_error_cannot_be_started() {
        let mut app = with_catalogue(Route::Home);
        app.apply(Action::Field {
            name: "count".to_owned(),
            text: "1000".to_owned(),
        });
        assert!(!app.can_start());
    }

    #[test]
    fn opening_a_link_to_a_run_shows_it_and_its_parameters() {
        let mut app = with_catalogue(Route::Run {
            id: "r1".to_owned(),
        });
        assert!(!app.starting);
        app.apply(Action::Stream {
            run: "r1".to_owned(),
            report: Report::Run {
                info: Box::new(samples::info(RunState::Running)),
                page_ms: 0.0,
            },
        });
        assert_eq!(app.experiment_id(), Some("tcp-dead-peer"));
        let param = app.entry().unwrap().descriptor.params[0].clone();
        assert_eq!(app.form.text(&param), "2s");
        assert!(app.view.follows());
    }

    #[test]
    fn a_run_that_was_over_is_read_from_its_beginning() {
        let mut app = at(Route::Run {
            id: "r1".to_owned(),
        });
        app.apply(Action::Stream {
            run: "r1".to_owned(),
            report: Report::Run {
                info: Box::new(samples::info(RunState::Finished)),
                page_ms: 0.0,
            },
        });
        assert!(!app.view.follows());
    }

    #[test]
    fn a_started_run_is_shown_and_has_the_address() {
        let mut app = with_catalogue(Route::Home);
        app.apply(Action::Starting);
        assert!(!app.can_start());
        app.apply(Action::Started {
            answer: Ok(Box::new(samples::info(RunState::Queued))),
            page_ms: 0.0,
        });
        assert_eq!(
            app.route,
            Route::Run {
                id: "r1".to_owned()
            }
        );
        assert!(!app.can_start(), "one run at a time on one page");
    }

    #[test]
    fn a_refusal_is_kept_until_the_next_attempt() {
        let mut app = with_catalogue(Route::Home);
        app.apply(Action::Starting);
        app.apply(Action::Started {
            answer: Err(Trouble::unreachable("Starting the run")),
            page_ms: 0.0,
        });
        assert!(app.trouble.is_some());
        assert!(app.can_start());
        app.apply(Action::Starting);
        assert!(app.trouble.is_none());
    }

    #[test]
    fn reports_of_another_run_are_passed_over() {
        let mut app = at(Route::Run {
            id: "r1".to_owned(),
        });
        let before = app.clone();
        app.apply(Action::Stream {
            run: "r0".to_owned(),
            report: Report::Outdated,
        });
        assert_eq!(app, before);
    }

    #[test]
    fn leaving_a_run_forgets_it() {
        let mut app = with_catalogue(Route::Run {
            id: "r1".to_owned(),
        });
        app.apply(Action::Navigate(experiment("tcp-dead-peer", &[])));
        assert!(app.run.is_none());
    }

    #[test]
    fn a_run_that_is_deleted_leaves_the_list_and_gives_way_to_its_experiment() {
        let mut app = with_catalogue(Route::Run {
            id: "r1".to_owned(),
        });
        app.apply(Action::Stream {
            run: "r1".to_owned(),
            report: Report::Run {
                info: Box::new(samples::info(RunState::Finished)),
                page_ms: 0.0,
            },
        });
        let mut other = samples::info(RunState::Finished);
        other.id = "r0".to_owned();
        let shown = samples::info(RunState::Finished);
        app.apply(Action::Recent(vec![shown, other]));
        app.apply(Action::Deleted("r0".to_owned()));
        assert!(app.run.is_some(), "another run than the one that is shown");
        app.apply(Action::Deleted("r1".to_owned()));
        assert!(app.recent.is_empty() && app.run.is_none());
        assert_eq!(app.experiment_id(), Some("tcp-dead-peer"));
        assert!(matches!(app.route, Route::Experiment { .. }));
    }

    #[test]
    fn keys_open_and_close_the_list_and_do_nothing_else_meanwhile() {
        let mut app = at(Route::Home);
        let strike = |app: &mut App, command| {
            app.apply(Action::Command {
                command,
                page_ms: 0.0,
            });
        };
        strike(&mut app, Command::Help);
        assert!(app.help);
        app.view.selected = Some(3);
        strike(&mut app, Command::Escape);
        assert!(!app.help && app.view.selected == Some(3));
        strike(&mut app, Command::Escape);
        assert_eq!(app.view.selected, None);
    }

    #[test]
    fn space_plays_a_run_that_is_over_and_going_live_shows_all_of_it() {
        let mut app = at(Route::Run {
            id: "r1".to_owned(),
        });
        let message = |message| Action::Stream {
            run: "r1".to_owned(),
            report: Report::Message {
                message: Box::new(message),
                page_ms: 0.0,
            },
        };
        app.apply(message(StreamMessage::Hello {
            protocol_version: 1,
            run: Box::new(samples::info(RunState::Finished)),
        }));
        app.apply(message(StreamMessage::Events {
            events: samples::dead_peer(),
            now_us: 0,
        }));
        let strike = |app: &mut App, command, page_ms| {
            app.apply(Action::Command { command, page_ms });
        };
        strike(&mut app, Command::Pause, 0.0);
        assert!(
            app.run.as_ref().unwrap().replay.is_none(),
            "not all is here"
        );
        app.apply(message(StreamMessage::End {
            state: RunState::Finished,
        }));
        strike(&mut app, Command::Pause, 0.0);
        let shown = |app: &App| app.run.as_ref().unwrap().shown().unwrap().borrow().len();
        let at_first = shown(&app);
        assert!(app.view.follows());
        strike(&mut app, Command::GoLive, 10.0);
        assert!(at_first < shown(&app));
        assert_eq!(shown(&app), samples::dead_peer().len());
    }

    #[test]
    fn themes_go_round_and_read_back() {
        let mut theme = Theme::System;
        for _ in 0..3 {
            assert_eq!(Theme::from_name(theme.name()), theme);
            theme = theme.next();
        }
        assert_eq!(theme, Theme::System);
    }
}
